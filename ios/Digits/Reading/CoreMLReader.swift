import CoreML
import DigitKit
import Foundation

/// Gives the image to Core ML as it is: one component, 28 by 28.
actor CoreMLReader: DigitReader {
  nonisolated let facts: ModelFacts
  private let model: MLModel

  init(url: URL) throws {
    let model = try MLModel(contentsOf: url, configuration: .app)
    facts = ModelFacts(model: model, url: url)
    self.model = model
  }

  func read(_ image: DigitImage) throws -> Reading {
    let input = try MLDictionaryFeatureProvider(dictionary: [
      ModelInterface.image: MLFeatureValue(pixelBuffer: try image.pixelBuffer())
    ])
    let output = try model.prediction(from: input)
    guard let found = output.featureValue(for: ModelInterface.probabilities)?.dictionaryValue else {
      throw ReadingError.noProbabilities
    }
    return Reading(
      confidences: found.reduce(into: [:]) { confidences, entry in
        confidences["\(entry.key)"] = entry.value.doubleValue
      })
  }
}
