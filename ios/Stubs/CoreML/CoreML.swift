// The part of Core ML that the app uses, with Apple's signatures. Nothing here ever runs.
//
// Classes are not Sendable here, whatever Apple promises of them: the app does not rely on it.
import CoreGraphics
import CoreVideo
import Foundation
import ImageIO

// https://developer.apple.com/documentation/coreml/mlcomputeunits
public enum MLComputeUnits: Int, Sendable {
  case cpuOnly
  case cpuAndGPU
  case all
  case cpuAndNeuralEngine
}

// https://developer.apple.com/documentation/coreml/mlmodelconfiguration
open class MLModelConfiguration {
  public init() {}
  open var computeUnits: MLComputeUnits {
    get { fatalError() }
    set { fatalError() }
  }
}

// https://developer.apple.com/documentation/coreml/mlmodelmetadatakey
public struct MLModelMetadataKey: Hashable, RawRepresentable, Sendable {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  public static var license: MLModelMetadataKey { fatalError() }
  public static var creatorDefinedKey: MLModelMetadataKey { fatalError() }
}

// https://developer.apple.com/documentation/coreml/mlmodeldescription
open class MLModelDescription {
  open var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
  open var predictedProbabilitiesName: String? { fatalError() }
  open var classLabels: [Any]? { fatalError() }
  open var metadata: [MLModelMetadataKey: Any] { fatalError() }
}

// https://developer.apple.com/documentation/coreml/mlfeaturedescription
open class MLFeatureDescription {
  open var name: String { fatalError() }
  open var imageConstraint: MLImageConstraint? { fatalError() }
}

// https://developer.apple.com/documentation/coreml/mlimageconstraint
open class MLImageConstraint {
  open var pixelsHigh: Int { fatalError() }
  open var pixelsWide: Int { fatalError() }
  open var pixelFormatType: OSType { fatalError() }
}

// https://developer.apple.com/documentation/coreml/mlfeaturevalue
open class MLFeatureValue {
  // https://developer.apple.com/documentation/coreml/mlfeaturevalue/imageoption
  public struct ImageOption: Hashable, RawRepresentable, Sendable {
    public let rawValue: String

    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    public static var cropAndScale: ImageOption { fatalError() }
  }

  public convenience init(pixelBuffer value: CVPixelBuffer) { fatalError() }
  // https://developer.apple.com/documentation/coreml/mlfeaturevalue/init(cgimage:orientation:constraint:options:)
  public convenience init(
    cgImage: CGImage, orientation: CGImagePropertyOrientation, constraint: MLImageConstraint,
    options: [ImageOption: Any]? = nil
  ) throws { fatalError() }
  open var dictionaryValue: [AnyHashable: NSNumber] { fatalError() }
}

// https://developer.apple.com/documentation/coreml/mlfeatureprovider
public protocol MLFeatureProvider {
  func featureValue(for featureName: String) -> MLFeatureValue?
}

// https://developer.apple.com/documentation/coreml/mldictionaryfeatureprovider
open class MLDictionaryFeatureProvider: MLFeatureProvider {
  public init(dictionary: [String: Any]) throws { fatalError() }
  open func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

// https://developer.apple.com/documentation/coreml/mlmodel
open class MLModel {
  init() {}
  // https://developer.apple.com/documentation/coreml/mlmodel/load(contentsof:configuration:)
  open class func load(
    contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
  ) async throws -> MLModel { fatalError() }
  open var modelDescription: MLModelDescription { fatalError() }
  open func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
    fatalError()
  }
}
