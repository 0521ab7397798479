import CoreML
import CoreVideo
import DigitKit
import Foundation
import Vision

/// The one model that is loaded, asked through Vision or through Core ML.
actor ModelReader: ImageReader {
  nonisolated let facts: ModelFacts
  nonisolated let interface: ModelInterface
  private let model: MLModel
  private let vision: VNCoreMLModel

  /// - Parameters:
  ///   - url: a compiled model.
  ///   - processors: that Core ML may use.
  static func load(url: URL, on processors: Processors = .all) async throws -> ModelReader {
    let configuration = MLModelConfiguration(processors: processors)
    return try ModelReader(model: try await MLModel.load(contentsOf: url, configuration: configuration), url: url)
  }

  private init(model: sending MLModel, url: URL) throws {
    facts = try ModelFacts(model: model, url: url)
    interface = try ModelInterface(ModelDescription(model.modelDescription))
    vision = try VNCoreMLModel(for: model)
    self.model = model
  }

  func read(_ image: PixelImage, by path: ReaderPath) throws -> [String: Double] {
    let buffer = try image.pixelBuffer()
    switch path {
    case .vision: return try throughVision(buffer)
    case .direct: return try throughCoreML(buffer)
    }
  }

  /// The image has the model's size already: how Vision would crop or scale it makes no difference to its pixels.
  private func throughVision(_ buffer: CVPixelBuffer) throws -> [String: Double] {
    let request = VNCoreMLRequest(model: vision)
    request.imageCropAndScaleOption = facts.fit.visionOption
    try VNImageRequestHandler(cvPixelBuffer: buffer, options: [:]).perform([request])
    guard let observations = request.results as? [VNClassificationObservation] else {
      throw ReadingError.noProbabilities
    }
    return observations.reduce(into: [:]) { confidences, observation in
      confidences[observation.identifier] = Double(observation.confidence)
    }
  }

  private func throughCoreML(_ buffer: CVPixelBuffer) throws -> [String: Double] {
    let input = try MLDictionaryFeatureProvider(dictionary: [interface.image: MLFeatureValue(pixelBuffer: buffer)])
    let output = try model.prediction(from: input)
    guard let found = output.featureValue(for: interface.probabilities)?.dictionaryValue else {
      throw ReadingError.noProbabilities
    }
    return found.reduce(into: [:]) { confidences, entry in
      confidences["\(entry.key)"] = entry.value.doubleValue
    }
  }
}

extension Fit {
  /// What Vision would do to an image of another size to fit it alike.
  var visionOption: VNImageCropAndScaleOption {
    switch self {
    case .crop: .centerCrop
    case .pad: .scaleFit
    case .squash: .scaleFill
    }
  }
}
