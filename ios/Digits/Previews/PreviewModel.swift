import DigitKit
import Foundation

/// Models for Xcode's previews, in each state that a screen can have.
struct PreviewLoader: ModelLoader {
  enum Kind {
    case none
    case refused
    case digits
    case photographs
  }

  var kind = Kind.digits
  /// How long loading takes.
  var seconds = 0

  func load() async throws -> LoadedModel? {
    try await Task.sleep(nanoseconds: UInt64(seconds) * 1_000_000_000)
    switch kind {
    case .none: return nil
    case .refused: throw ModelProblem.preprocessing("0")
    case .digits: return try .preview(side: 28, colors: .gray, labels: ModelInterface.digits.sorted())
    case .photographs: return try .preview(side: 64, colors: .rgb, labels: ["cat", "dog", "horse"])
    }
  }
}

/// Answers every image alike, surely or not, or fails.
struct PreviewReader: ImageReader {
  var confidences = [0.86, 0.1, 0.04]
  var labels = ["7", "1", "9"]
  var failure: ReadingError?

  func read(_ image: PixelImage, by path: ReaderPath) async throws -> [String: Double] {
    if let failure {
      throw failure
    }
    return Dictionary(zip(labels, confidences)) { first, _ in first }
  }
}

extension LoadedModel {
  static func preview(
    side: Int = 28, colors: ModelInterface.Colors = .gray, labels: [String], reader: PreviewReader? = nil
  ) throws(ModelProblem) -> LoadedModel {
    let input = ModelDescription.Input(name: "image", size: ImageSize(width: side, height: side), colors: colors)
    return LoadedModel(
      facts: try ModelFacts(
        metadata: [
          "run_id": "386bbbe67d4f4084ba1ad7800d80c65e", "architecture": "pocket", "dataset": "preview",
          "val_accuracy": "0.9780", "preprocessing_version": String(Preprocessing.version), "threshold": "0.6",
        ], bytes: 6_941),
      interface: try ModelInterface(
        ModelDescription(inputs: [input], probabilities: "output", labels: labels)),
      reader: reader ?? PreviewReader(labels: Array(labels.shuffled().prefix(3))))
  }
}
