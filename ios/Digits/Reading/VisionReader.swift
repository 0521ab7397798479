import CoreML
import DigitKit
import Foundation
import Vision

/// Gives the image to Vision, as the tutorial's app does.
///
/// The image has the model's size already, so how Vision would crop or scale it makes no difference.
actor VisionReader: DigitReader {
  private let model: VNCoreMLModel

  init(url: URL) throws {
    model = try VNCoreMLModel(for: MLModel(contentsOf: url, configuration: .app))
  }

  func read(_ image: DigitImage) throws -> Reading {
    let request = VNCoreMLRequest(model: model)
    request.imageCropAndScaleOption = .scaleFill
    try VNImageRequestHandler(cvPixelBuffer: try image.pixelBuffer(), options: [:]).perform([request])
    guard let observations = request.results as? [VNClassificationObservation] else {
      throw ReadingError.noProbabilities
    }
    return Reading(
      confidences: observations.reduce(into: [:]) { confidences, observation in
        confidences[observation.identifier] = Double(observation.confidence)
      })
  }
}
