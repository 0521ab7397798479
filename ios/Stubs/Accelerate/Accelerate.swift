// The part of vImage that the app uses, with Apple's signatures. Nothing here ever runs.
import CoreGraphics
import Foundation

// https://developer.apple.com/documentation/accelerate/vimagepixelcount
public typealias vImagePixelCount = UInt

// https://developer.apple.com/documentation/accelerate/vimage
public enum vImage {
  // https://developer.apple.com/documentation/accelerate/vimage/options
  public struct Options: OptionSet, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) {
      self.rawValue = rawValue
    }

    public static let noFlags = Options([])
  }
}

// https://developer.apple.com/documentation/accelerate/vimage_cgimageformat
public struct vImage_CGImageFormat {
  // https://developer.apple.com/documentation/accelerate/vimage_cgimageformat/init(bitspercomponent:bitsperpixel:colorspace:bitmapinfo:renderingintent:)
  public init?(
    bitsPerComponent: Int, bitsPerPixel: Int, colorSpace: CGColorSpace, bitmapInfo: CGBitmapInfo,
    renderingIntent: CGColorRenderingIntent = .defaultIntent
  ) { fatalError() }
}

// https://developer.apple.com/documentation/accelerate/vimage_buffer
public struct vImage_Buffer {
  public var data: UnsafeMutableRawPointer!
  public var height: vImagePixelCount
  public var width: vImagePixelCount
  public var rowBytes: Int
  // https://developer.apple.com/documentation/accelerate/vimage_buffer/init(cgimage:format:flags:)
  public init(cgImage: CGImage, format: vImage_CGImageFormat, flags options: vImage.Options = .noFlags) throws {
    fatalError()
  }
  // https://developer.apple.com/documentation/accelerate/vimage_buffer/init(width:height:bitsperpixel:)
  public init(width: Int, height: Int, bitsPerPixel: UInt32) throws { fatalError() }
  // https://developer.apple.com/documentation/accelerate/vimage_buffer/createcgimage(format:flags:)
  public func createCGImage(format: vImage_CGImageFormat, flags options: vImage.Options = .noFlags) throws -> CGImage {
    fatalError()
  }
  // https://developer.apple.com/documentation/accelerate/vimage_buffer/free()
  public func free() { fatalError() }
}
