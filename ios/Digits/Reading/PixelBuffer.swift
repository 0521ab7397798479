import CoreVideo
import DigitKit
import Foundation

extension PixelImage {
  /// The image as a pixel buffer, row by row, whatever the buffer's own row length: one component, or BGRA.
  func pixelBuffer() throws -> CVPixelBuffer {
    let format = channels == 1 ? kCVPixelFormatType_OneComponent8 : kCVPixelFormatType_32BGRA
    var made: CVPixelBuffer?
    let code = CVPixelBufferCreate(kCFAllocatorDefault, width, height, format, nil, &made)
    guard code == kCVReturnSuccess, let buffer = made else {
      throw ReadingError.noPixelBuffer(code: code)
    }
    let locked = CVPixelBufferLockBaseAddress(buffer, [])
    guard locked == kCVReturnSuccess, let base = CVPixelBufferGetBaseAddress(buffer) else {
      throw ReadingError.noPixelBuffer(code: locked)
    }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    let bytes = channels == 1 ? pixels : bgra
    let length = bytes.count / height
    for row in 0..<height {
      bytes[row * length..<(row + 1) * length].withUnsafeBytes { source in
        (base + row * stride).copyMemory(from: source.baseAddress!, byteCount: length)
      }
    }
    CVPixelBufferUnlockBaseAddress(buffer, [])
    return buffer
  }

  /// The pixels of a BGRA buffer as red, green and blue; nil for another format.
  init?(_ buffer: CVPixelBuffer) {
    guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA,
      CVPixelBufferLockBaseAddress(buffer, .readOnly) == kCVReturnSuccess
    else {
      return nil
    }
    let width = CVPixelBufferGetWidth(buffer)
    let height = CVPixelBufferGetHeight(buffer)
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    var pixels = [UInt8](repeating: 0, count: width * height * 3)
    let base = CVPixelBufferGetBaseAddress(buffer)
    if let base {
      for row in 0..<height {
        for column in 0..<width {
          for channel in 0..<3 {
            pixels[(row * width + column) * 3 + channel] = base.load(
              fromByteOffset: row * stride + column * 4 + (2 - channel), as: UInt8.self)
          }
        }
      }
    }
    CVPixelBufferUnlockBaseAddress(buffer, .readOnly)
    guard base != nil, width > 0, height > 0 else {
      return nil
    }
    self.init(width: width, height: height, channels: 3, pixels: pixels)
  }

  /// Blue, green, red and full alpha of each pixel.
  private var bgra: [UInt8] {
    var bytes = [UInt8](repeating: 255, count: width * height * 4)
    for pixel in 0..<width * height {
      for channel in 0..<3 {
        bytes[pixel * 4 + 2 - channel] = pixels[pixel * channels + channel]
      }
    }
    return bytes
  }
}
