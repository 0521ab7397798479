import Foundation
import Observation

/// What the app runs on.
public protocol DeviceDescription: Sendable {
  var device: String { get }
  var system: String { get }
  var isSimulator: Bool { get }
  /// UTC, as ISO 8601 has it.
  var now: String { get }
}

/// Times the model on this device, one choice of processors after the other.
@MainActor
@Observable
public final class SpeedSession {
  public enum Phase {
    case ready
    case measuring(Processors)
    /// What was measured, and the file that holds it.
    case measured(DeviceReport, file: URL)
    case failed(any Error)
  }

  public private(set) var phase = Phase.ready
  /// What is measured so far.
  public private(set) var timings: [Timing] = []

  private let model: LoadedModel
  private let description: any DeviceDescription

  public init(model: LoadedModel, description: any DeviceDescription) {
    self.model = model
    self.description = description
  }

  /// Whether there is anything to measure, and nothing is being measured.
  public var canMeasure: Bool {
    if case .measuring = phase {
      return false
    }
    return model.source != nil
  }

  /// Where its task is cancelled, nothing was measured.
  public func measure<Time: Clock<Duration>>(
    clock: Time = ContinuousClock(), into folder: URL = FileManager.default.temporaryDirectory
  ) async {
    guard canMeasure, let source = model.source else {
      return
    }
    timings = []
    do {
      for processors in Processors.allCases {
        phase = .measuring(processors)
        timings.append(
          try await Stopwatch(clock: clock).time(source, interface: model.interface, on: processors))
      }
      let report = DeviceReport(
        device: description.device, system: description.system, isSimulator: description.isSimulator,
        measuredAt: description.now, facts: model.facts, timings: timings)
      phase = .measured(report, file: try report.write(into: folder))
    } catch is CancellationError {
      timings = []
      phase = .ready
    } catch {
      phase = .failed(error)
    }
  }
}
