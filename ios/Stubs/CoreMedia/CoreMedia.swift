// The part of Core Media that the app uses, with Apple's signatures. Nothing here ever runs.
import CoreVideo
import Foundation

// https://developer.apple.com/documentation/coremedia/cmsamplebuffer
public final class CMSampleBuffer {}

// https://developer.apple.com/documentation/coremedia/cmsamplebuffergetimagebuffer(_:)
public func CMSampleBufferGetImageBuffer(_ sbuf: CMSampleBuffer) -> CVImageBuffer? { fatalError() }
