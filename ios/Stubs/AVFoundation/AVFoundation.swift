// The part of AVFoundation that the app uses, with Apple's signatures. Nothing here ever runs.
//
// Classes are not Sendable here, whatever Apple promises of them: the app does not rely on it.
import CoreMedia
@_exported import Foundation

// https://developer.apple.com/documentation/avfoundation/avmediatype
public struct AVMediaType: Hashable, RawRepresentable, Sendable {
  public let rawValue: String

  public init(rawValue: String) {
    self.rawValue = rawValue
  }

  public static var video: AVMediaType { fatalError() }
}

// https://developer.apple.com/documentation/quartzcore/calayer, which a RotationCoordinator may be given
open class CALayer {}

// https://developer.apple.com/documentation/avfoundation/avcapturedevice
open class AVCaptureDevice {
  // https://developer.apple.com/documentation/avfoundation/avcapturedevice/requestaccess(for:completionhandler:)
  open class func requestAccess(for mediaType: AVMediaType) async -> Bool { fatalError() }
  // https://developer.apple.com/documentation/avfoundation/avcapturedevice/default(for:)
  open class func `default`(for mediaType: AVMediaType) -> AVCaptureDevice? { fatalError() }

  // https://developer.apple.com/documentation/avfoundation/avcapturedevice/rotationcoordinator
  open class RotationCoordinator {
    public init(device: AVCaptureDevice, previewLayer: CALayer?) { fatalError() }
    open var videoRotationAngleForHorizonLevelCapture: CGFloat { fatalError() }
  }
}

// https://developer.apple.com/documentation/avfoundation/avcaptureinput
open class AVCaptureInput {}

// https://developer.apple.com/documentation/avfoundation/avcapturedeviceinput
open class AVCaptureDeviceInput: AVCaptureInput {
  public init(device: AVCaptureDevice) throws { fatalError() }
}

// https://developer.apple.com/documentation/avfoundation/avcaptureconnection
open class AVCaptureConnection {
  open var videoRotationAngle: CGFloat {
    get { fatalError() }
    set { fatalError() }
  }
  open func isVideoRotationAngleSupported(_ videoRotationAngle: CGFloat) -> Bool { fatalError() }
}

// https://developer.apple.com/documentation/avfoundation/avcaptureoutput
open class AVCaptureOutput {
  open func connection(with mediaType: AVMediaType) -> AVCaptureConnection? { fatalError() }
}

// https://developer.apple.com/documentation/avfoundation/avcapturevideodataoutputsamplebufferdelegate
// The method is optional with Apple, which Linux cannot express: it must be there.
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: NSObjectProtocol {
  func captureOutput(
    _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
}

// https://developer.apple.com/documentation/avfoundation/avcapturevideodataoutput
open class AVCaptureVideoDataOutput: AVCaptureOutput {
  override public init() { fatalError() }
  open var videoSettings: [String: Any]! {
    get { fatalError() }
    set { fatalError() }
  }
  open var alwaysDiscardsLateVideoFrames: Bool {
    get { fatalError() }
    set { fatalError() }
  }
  open func setSampleBufferDelegate(
    _ sampleBufferDelegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?,
    queue sampleBufferCallbackQueue: DispatchQueue?
  ) { fatalError() }
}

// https://developer.apple.com/documentation/avfoundation/avcapturesession
open class AVCaptureSession {
  // https://developer.apple.com/documentation/avfoundation/avcapturesession/preset
  public struct Preset: Hashable, Sendable {
    public static var vga640x480: Preset { fatalError() }
  }

  public init() { fatalError() }
  open var sessionPreset: Preset {
    get { fatalError() }
    set { fatalError() }
  }
  open func beginConfiguration() { fatalError() }
  open func commitConfiguration() { fatalError() }
  open func canAddInput(_ input: AVCaptureInput) -> Bool { fatalError() }
  open func addInput(_ input: AVCaptureInput) { fatalError() }
  open func canAddOutput(_ output: AVCaptureOutput) -> Bool { fatalError() }
  open func addOutput(_ output: AVCaptureOutput) { fatalError() }
  open func startRunning() { fatalError() }
  open func stopRunning() { fatalError() }
}
