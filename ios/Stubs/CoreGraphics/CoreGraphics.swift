// The part of Core Graphics that the app uses, with Apple's signatures. Nothing here ever runs.
import AppleFoundation
import Foundation

// https://developer.apple.com/documentation/coregraphics/cgcolorspace
public final class CGColorSpace {
  public init?(name: CFString) { fatalError() }
  public var name: CFString? { fatalError() }
  public static var sRGB: CFString { fatalError() }
  public static var displayP3: CFString { fatalError() }
  public static var genericGrayGamma2_2: CFString { fatalError() }
}

// https://developer.apple.com/documentation/coregraphics/cgcolorspacecreatedevicegray()
public func CGColorSpaceCreateDeviceGray() -> CGColorSpace { fatalError() }

// https://developer.apple.com/documentation/coregraphics/cgimagealphainfo
public enum CGImageAlphaInfo: UInt32, Sendable {
  case none = 0
  case premultipliedLast
  case premultipliedFirst
  case last
  case first
  case noneSkipLast
  case noneSkipFirst
  case alphaOnly
}

// https://developer.apple.com/documentation/coregraphics/cgbitmapinfo
public struct CGBitmapInfo: OptionSet, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }
}

// https://developer.apple.com/documentation/coregraphics/cgcolorrenderingintent
public enum CGColorRenderingIntent: Int32, Sendable {
  case defaultIntent = 0
}

// https://developer.apple.com/documentation/coregraphics/cgimage
public final class CGImage {
  init() {}
  public var alphaInfo: CGImageAlphaInfo { fatalError() }
  public var colorSpace: CGColorSpace? { fatalError() }
  public var width: Int { fatalError() }
  public var height: Int { fatalError() }
}

// https://developer.apple.com/documentation/coregraphics/cgcontext
public final class CGContext {
  // https://developer.apple.com/documentation/coregraphics/cgcontext/init(data:width:height:bitspercomponent:bytesperrow:space:bitmapinfo:)
  public init?(
    data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int,
    space: CGColorSpace, bitmapInfo: UInt32
  ) { fatalError() }
  public func setFillColor(red: CGFloat, green: CGFloat, blue: CGFloat, alpha: CGFloat) { fatalError() }
  public func fill(_ rect: CGRect) { fatalError() }
  public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) { fatalError() }
  public func makeImage() -> CGImage? { fatalError() }
}
