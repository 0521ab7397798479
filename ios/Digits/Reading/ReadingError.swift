import DigitKit
import Foundation

/// Why a model did not answer.
enum ReadingError: Error {
  case noPixelBuffer(code: Int32)
  case noProbabilities
  case noPicture
}

extension PhotoSession {
  /// Reads a photograph's file.
  func read(file: Data?) async {
    do {
      guard let file else {
        throw ReadingError.noPicture
      }
      await read(try await Photograph(file: file))
    } catch {
      fail(error)
    }
  }
}
