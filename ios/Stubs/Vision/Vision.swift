// The part of Vision that the app uses, with Apple's signatures. Nothing here ever runs.
import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import ImageIO

// https://developer.apple.com/documentation/vision/vncoremlmodel
open class VNCoreMLModel {
  public convenience init(for model: MLModel) throws { fatalError() }
}

// https://developer.apple.com/documentation/vision/vnimagecropandscaleoption
public enum VNImageCropAndScaleOption: UInt, Sendable {
  case centerCrop = 0
  case scaleFit = 1
  case scaleFill = 2
}

// https://developer.apple.com/documentation/vision/vnobservation
open class VNObservation {}

// https://developer.apple.com/documentation/vision/vnconfidence
public typealias VNConfidence = Float

// https://developer.apple.com/documentation/vision/vnclassificationobservation
open class VNClassificationObservation: VNObservation {
  open var identifier: String { fatalError() }
  open var confidence: VNConfidence { fatalError() }
}

// https://developer.apple.com/documentation/vision/vnrequest
open class VNRequest {
  open var results: [VNObservation]? { fatalError() }
}

// https://developer.apple.com/documentation/vision/vncoremlrequest
open class VNCoreMLRequest: VNRequest {
  public init(model: VNCoreMLModel) { fatalError() }
  open var imageCropAndScaleOption: VNImageCropAndScaleOption {
    get { fatalError() }
    set { fatalError() }
  }
}

// https://developer.apple.com/documentation/vision/vnimageoption
public struct VNImageOption: Hashable, RawRepresentable, Sendable {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }
}

// https://developer.apple.com/documentation/vision/vnimagerequesthandler
open class VNImageRequestHandler {
  public init(cvPixelBuffer pixelBuffer: CVPixelBuffer, options: [VNImageOption: Any] = [:]) {
    fatalError()
  }
  // https://developer.apple.com/documentation/vision/vnimagerequesthandler/init(cgimage:orientation:options:)-4c5kv
  public init(
    cgImage image: CGImage, orientation: CGImagePropertyOrientation, options: [VNImageOption: Any] = [:]
  ) { fatalError() }
  open func perform(_ requests: [VNRequest]) throws { fatalError() }
}
