import Accelerate
import CoreGraphics
import DigitKit
import Foundation
import UIKit

extension Photograph {
  /// Decodes a photograph's file: its pixels as they are stored, not turned, not scaled, alpha not multiplied in.
  ///
  /// Apple decodes the file; of colours other than sRGB's and Display P3's, Apple also makes sRGB.
  init(file: Data) async throws {
    guard let picture = UIImage(data: file), let image = picture.cgImage else {
      throw ReadingError.noPicture
    }
    let isP3 = image.colorSpace?.name == CGColorSpace.displayP3
    self.init(
      image: try PixelImage(image, colorSpace: isP3 ? CGColorSpace.displayP3 : CGColorSpace.sRGB),
      orientation: Orientation(picture.imageOrientation),
      colorSpace: isP3 ? .displayP3 : .sRGB
    )
  }
}

extension Orientation {
  fileprivate init(_ orientation: UIImage.Orientation) {
    self =
      switch orientation {
      case .up: .up
      case .upMirrored: .upMirrored
      case .down: .down
      case .downMirrored: .downMirrored
      case .leftMirrored: .leftMirrored
      case .right: .right
      case .rightMirrored: .rightMirrored
      case .left: .left
      @unknown default: .up
      }
  }
}

extension PixelImage {
  /// Red, green, blue and alpha in a colour space.
  fileprivate init(_ image: CGImage, colorSpace name: CFString) throws {
    guard let colorSpace = CGColorSpace(name: name),
      let format = vImage_CGImageFormat(
        bitsPerComponent: 8, bitsPerPixel: 32, colorSpace: colorSpace,
        bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue))
    else {
      throw ReadingError.noPicture
    }
    let buffer = try vImage_Buffer(cgImage: image, format: format)
    defer { buffer.free() }
    let (width, height) = (Int(buffer.width), Int(buffer.height))
    var pixels: [UInt8] = []
    pixels.reserveCapacity(width * height * 4)
    for row in 0..<height {
      pixels += UnsafeRawBufferPointer(start: buffer.data + row * buffer.rowBytes, count: width * 4)
    }
    self.init(width: width, height: height, channels: 4, pixels: pixels)
  }

  /// The image to show, in sRGB; nil where the device has no room for it.
  var cgImage: CGImage? {
    let alpha = channels == 4 ? CGImageAlphaInfo.last : CGImageAlphaInfo.none
    let space = CGColorSpace(name: channels == 1 ? CGColorSpace.genericGrayGamma2_2 : CGColorSpace.sRGB)
    guard let space,
      let format = vImage_CGImageFormat(
        bitsPerComponent: 8, bitsPerPixel: 8 * channels, colorSpace: space,
        bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue)),
      let buffer = try? vImage_Buffer(width: width, height: height, bitsPerPixel: UInt32(8 * channels))
    else {
      return nil
    }
    defer { buffer.free() }
    pixels.withUnsafeBytes { source in
      for row in 0..<height {
        (buffer.data + row * buffer.rowBytes).copyMemory(
          from: source.baseAddress! + row * width * channels, byteCount: width * channels)
      }
    }
    return try? buffer.createCGImage(format: format)
  }
}
