// The part of UIKit that the app uses, with Apple's signatures. Nothing here ever runs.
import CoreGraphics
@_exported import Foundation

// https://developer.apple.com/documentation/uikit/uiapplication
@MainActor open class UIApplication {
  // https://developer.apple.com/documentation/uikit/uiapplication/opensettingsurlstring
  nonisolated open class var openSettingsURLString: String { fatalError() }
}

// https://developer.apple.com/documentation/uikit/uiimage
open class UIImage {
  // https://developer.apple.com/documentation/uikit/uiimage/orientation
  public enum Orientation: Int, Sendable {
    case up
    case down
    case left
    case right
    case upMirrored
    case downMirrored
    case leftMirrored
    case rightMirrored
  }

  public init?(data: Data) { fatalError() }
  open var cgImage: CGImage? { fatalError() }
  open var imageOrientation: Orientation { fatalError() }
}
