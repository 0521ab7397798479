import DigitKit
import Foundation
import Observation

/// Why there is no picture from the camera.
enum CameraProblem: Error, Equatable, CaseIterable {
  case notAllowed
  /// The device has none, as the simulator.
  case missing
  case notUsable

  var text: String {
    switch self {
    case .notAllowed: String(localized: "The camera is not allowed")
    case .missing: String(localized: "This device has no camera.")
    case .notUsable: String(localized: "The camera cannot be used now.")
    }
  }
}

/// The camera's frames, one after the other.
@MainActor
@Observable
final class CameraFeed {
  enum Phase: Equatable {
    case off
    case starting
    case running
    case failed(CameraProblem)
  }

  private(set) var state = Phase.off
  private(set) var frame: Photograph?
  /// Whether each frame is read.
  var isLive = true

  @ObservationIgnored private let camera = Camera()
  /// Ends with the camera stopped, once it is cancelled.
  @ObservationIgnored private var frames: Task<Void, Never>?

  /// Asks for the camera and starts it; what arrives while a frame is being read is left out.
  func run(reading read: @escaping @MainActor (Photograph) async -> Void) {
    let previous = frames
    previous?.cancel()
    state = .starting
    isLive = true
    frames = Task {
      await previous?.value
      await show(reading: read)
    }
  }

  /// Also where the person has not yet answered whether the camera is allowed.
  func stop() {
    frames?.cancel()
    frame = nil
    state = .off
  }

  private func show(reading read: @MainActor (Photograph) async -> Void) async {
    do {
      let stream = try await camera.start()
      if !Task.isCancelled {
        state = .running
      }
      for await frame in stream where !Task.isCancelled {
        self.frame = frame
        await camera.level()
        if isLive {
          await read(frame)
        }
      }
      await camera.stop()
    } catch {
      if !Task.isCancelled {
        state = .failed(error)
      }
    }
  }
}
