/// Why a model did not answer.
enum ReadingError: Error {
  case noPixelBuffer(code: Int32)
  case noProbabilities
  case noPicture
}
