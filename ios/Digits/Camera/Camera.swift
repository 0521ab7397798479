import AVFoundation
import CoreMedia
import CoreVideo
import DigitKit
import Foundation

/// The back camera. Its frames come upright, as BGRA; what is not taken in time is left out.
actor Camera {
  /// Starting and stopping the session blocks its thread, which is none of those that all tasks share.
  private let queue = DispatchSerialQueue(label: "camera")
  private let session = AVCaptureSession()
  private let output = AVCaptureVideoDataOutput()
  private let receiver = FrameReceiver()
  private var rotation: AVCaptureDevice.RotationCoordinator?

  nonisolated var unownedExecutor: UnownedSerialExecutor {
    queue.asUnownedSerialExecutor()
  }

  func start() async throws(CameraProblem) -> AsyncStream<Photograph> {
    guard await AVCaptureDevice.requestAccess(for: .video) else {
      throw .notAllowed
    }
    guard !Task.isCancelled else {  // the answer may take long
      throw .notUsable
    }
    guard let device = AVCaptureDevice.default(for: .video) else {
      throw .missing
    }
    if rotation == nil {
      try connect(device)
    }
    let frames = receiver.frames()
    session.startRunning()
    level()
    return frames
  }

  func stop() {
    session.stopRunning()
    receiver.finish()
  }

  /// Turns the frames as the device is held.
  func level() {
    guard let rotation, let connection = output.connection(with: .video) else {
      return
    }
    let angle = rotation.videoRotationAngleForHorizonLevelCapture
    if connection.videoRotationAngle != angle, connection.isVideoRotationAngleSupported(angle) {
      connection.videoRotationAngle = angle
    }
  }

  private func connect(_ device: AVCaptureDevice) throws(CameraProblem) {
    guard let input = try? AVCaptureDeviceInput(device: device), session.canAddInput(input),
      session.canAddOutput(output)
    else {
      throw .notUsable
    }
    session.beginConfiguration()
    session.sessionPreset = .vga640x480
    session.addInput(input)
    output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
    output.alwaysDiscardsLateVideoFrames = true
    output.setSampleBufferDelegate(receiver, queue: DispatchQueue(label: "frames"))
    session.addOutput(output)
    session.commitConfiguration()
    rotation = AVCaptureDevice.RotationCoordinator(device: device, previewLayer: nil)
  }
}

/// Hands frames from the camera's queue to a stream that keeps the newest.
private final class FrameReceiver: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
  private let lock = NSLock()
  private var continuation: AsyncStream<Photograph>.Continuation?  // behind the lock

  func frames() -> AsyncStream<Photograph> {
    let (stream, continuation) = AsyncStream.makeStream(of: Photograph.self, bufferingPolicy: .bufferingNewest(1))
    replace(with: continuation)
    return stream
  }

  func finish() {
    replace(with: nil)
  }

  func captureOutput(
    _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
  ) {
    if let buffer = CMSampleBufferGetImageBuffer(sampleBuffer), let image = PixelImage(buffer) {
      _ = lock.withLock { continuation }?.yield(Photograph(image: image))
    }
  }

  private func replace(with new: AsyncStream<Photograph>.Continuation?) {
    let old = lock.withLock {
      let old = continuation
      continuation = new
      return old
    }
    old?.finish()
  }
}
