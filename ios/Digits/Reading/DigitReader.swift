import DigitKit
import Foundation

/// A way from an image to the model's answer.
protocol DigitReader: Sendable {
  func read(_ image: DigitImage) async throws -> Reading
}

/// The ways that the app knows.
enum ReaderPath: String, CaseIterable, Identifiable, Sendable {
  /// Through Vision, as the tutorial's app goes.
  case vision = "Vision"
  /// A pixel buffer given to Core ML.
  case direct = "Core ML"

  var id: String { rawValue }
}

/// A model that is ready, by each way.
struct Readers: Sendable {
  let facts: ModelFacts
  let vision: any DigitReader
  let direct: any DigitReader

  func reader(for path: ReaderPath) -> any DigitReader {
    switch path {
    case .vision: vision
    case .direct: direct
    }
  }
}

/// Where the model comes from; nil where there is none.
protocol ModelLoader: Sendable {
  func load() async throws -> Readers?
}

/// Why a model did not answer.
enum ReadingError: LocalizedError {
  case noPixelBuffer(code: Int32)
  case noProbabilities

  var errorDescription: String? {
    switch self {
    case .noPixelBuffer(let code): "no pixel buffer could be made (code \(code))."
    case .noProbabilities: "its answer holds no confidences by label."
    }
  }
}
