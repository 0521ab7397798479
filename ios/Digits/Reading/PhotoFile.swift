import Accelerate
import CoreGraphics
import DigitKit
import Foundation
import UIKit

extension Photograph {
  /// Decodes a photograph's file: its pixels as they are stored, not turned, not scaled, alpha not multiplied in.
  ///
  /// Apple decodes the file; of colours other than sRGB's and Display P3's, Apple also makes sRGB. Gray pictures without
  /// a profile stay the numbers that they are, as everywhere in the project.
  init(file: Data) async throws {
    guard let picture = UIImage(data: file), let image = picture.cgImage else {
      throw ReadingError.noPicture
    }
    let space = image.colorSpace?.name
    let isP3 = space == CGColorSpace.displayP3
    let isPlainGray = image.alphaInfo == .none && space != nil && PixelImage.plainGrays.contains(space)
    let pixels =
      if isPlainGray, let gray = image.colorSpace {
        try PixelImage(image, channels: 1, colorSpace: gray)
      } else if let color = CGColorSpace(name: isP3 ? CGColorSpace.displayP3 : CGColorSpace.sRGB) {
        try PixelImage(image, channels: 4, colorSpace: color)
      } else {
        throw ReadingError.noPicture
      }
    self.init(
      image: pixels,
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
  /// Names of the colour spaces that Apple gives to gray pictures without a profile.
  fileprivate static var plainGrays: [CFString?] {
    [CGColorSpace.genericGrayGamma2_2, CGColorSpaceCreateDeviceGray().name]
  }

  /// Gray (1 channel), or red, green, blue and alpha (4), in a colour space.
  fileprivate init(_ image: CGImage, channels: Int, colorSpace: CGColorSpace) throws {
    let alpha = channels == 4 ? CGImageAlphaInfo.last : CGImageAlphaInfo.none
    guard
      let format = vImage_CGImageFormat(
        bitsPerComponent: 8, bitsPerPixel: 8 * channels, colorSpace: colorSpace,
        bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue))
    else {
      throw ReadingError.noPicture
    }
    let buffer = try vImage_Buffer(cgImage: image, format: format)
    defer { buffer.free() }
    let (width, height) = (Int(buffer.width), Int(buffer.height))
    var pixels: [UInt8] = []
    pixels.reserveCapacity(width * height * channels)
    for row in 0..<height {
      pixels += UnsafeRawBufferPointer(start: buffer.data + row * buffer.rowBytes, count: width * channels)
    }
    self.init(width: width, height: height, channels: channels, pixels: pixels)
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
