// The part of Core Video that the app uses, with Apple's signatures. Nothing here ever runs.
import Foundation

// https://developer.apple.com/documentation/corefoundation/cfallocator
public final class CFAllocator {}

// https://developer.apple.com/documentation/corefoundation/kcfallocatordefault
public var kCFAllocatorDefault: CFAllocator! { fatalError() }

// https://developer.apple.com/documentation/corefoundation/cfdictionary
public final class CFDictionary {}

// https://developer.apple.com/documentation/corevideo/cvpixelbuffer
public class CVBuffer {}
public typealias CVImageBuffer = CVBuffer
public typealias CVPixelBuffer = CVImageBuffer

// https://developer.apple.com/documentation/corevideo/cvreturn
public typealias CVReturn = Int32
public let kCVReturnSuccess: CVReturn = 0

// https://developer.apple.com/documentation/corevideo/kcvpixelformattype_onecomponent8
public let kCVPixelFormatType_OneComponent8: OSType = 0x4C30_3038

// https://developer.apple.com/documentation/corevideo/kcvpixelformattype_32bgra
public let kCVPixelFormatType_32BGRA: OSType = 0x4247_5241

// https://developer.apple.com/documentation/corevideo/kcvpixelformattype_32argb
public let kCVPixelFormatType_32ARGB: OSType = 0x20

// https://developer.apple.com/documentation/corevideo/kcvpixelbufferpixelformattypekey
// A CFString with Apple, which Linux cannot cast to String.
public var kCVPixelBufferPixelFormatTypeKey: String { fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbufferlockflags
public struct CVPixelBufferLockFlags: OptionSet, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public static var readOnly: CVPixelBufferLockFlags { fatalError() }
}

// https://developer.apple.com/documentation/corevideo/cvpixelbuffercreate(_:_:_:_:_:_:)
public func CVPixelBufferCreate(
  _ allocator: CFAllocator?, _ width: Int, _ height: Int, _ pixelFormatType: OSType,
  _ pixelBufferAttributes: CFDictionary?,
  _ pixelBufferOut: UnsafeMutablePointer<CVPixelBuffer?>
) -> CVReturn { fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbufferlockbaseaddress(_:_:)
@discardableResult
public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags)
  -> CVReturn
{ fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbufferunlockbaseaddress(_:_:)
@discardableResult
public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags)
  -> CVReturn
{ fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbuffergetbaseaddress(_:)
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? {
  fatalError()
}

// https://developer.apple.com/documentation/corevideo/cvpixelbuffergetbytesperrow(_:)
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbuffergetwidth(_:)
public func CVPixelBufferGetWidth(_ buffer: CVPixelBuffer) -> Int { fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbuffergetheight(_:)
public func CVPixelBufferGetHeight(_ buffer: CVPixelBuffer) -> Int { fatalError() }

// https://developer.apple.com/documentation/corevideo/cvpixelbuffergetpixelformattype(_:)
public func CVPixelBufferGetPixelFormatType(_ buffer: CVPixelBuffer) -> OSType { fatalError() }
