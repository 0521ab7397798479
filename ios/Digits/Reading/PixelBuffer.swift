import CoreVideo
import DigitKit
import Foundation

extension DigitImage {
  /// The image as a pixel buffer of one component, row by row, whatever the buffer's own row length.
  func pixelBuffer() throws -> CVPixelBuffer {
    var made: CVPixelBuffer?
    let code = CVPixelBufferCreate(
      kCFAllocatorDefault, Self.side, Self.side, kCVPixelFormatType_OneComponent8, nil, &made)
    guard code == kCVReturnSuccess, let buffer = made else {
      throw ReadingError.noPixelBuffer(code: code)
    }
    let locked = CVPixelBufferLockBaseAddress(buffer, [])
    guard locked == kCVReturnSuccess, let base = CVPixelBufferGetBaseAddress(buffer) else {
      throw ReadingError.noPixelBuffer(code: locked)
    }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for row in 0..<Self.side {
      pixels[row * Self.side..<(row + 1) * Self.side].withUnsafeBytes { source in
        (base + row * stride).copyMemory(from: source.baseAddress!, byteCount: Self.side)
      }
    }
    CVPixelBufferUnlockBaseAddress(buffer, [])
    return buffer
  }
}
