import DigitKit
import Foundation
import Testing

/// A clock that goes on by one millisecond more each time that it is looked at.
private final class SlowingClock: Clock, @unchecked Sendable {
  let minimumResolution = Duration.zero
  private let lock = NSLock()
  private var instant = ContinuousClock().now  // behind the lock, as the next
  private var step = 0

  var now: ContinuousClock.Instant {
    lock.withLock {
      instant = instant.advanced(by: .milliseconds(step))
      step += 1
      return instant
    }
  }

  func sleep(until deadline: ContinuousClock.Instant, tolerance: Duration?) async throws {}
}

private actor Reader: ImageReader {
  private(set) var images: [PixelImage] = []

  func read(_ image: PixelImage, by path: ReaderPath) async throws -> [String: Double] {
    guard path == .direct else {
      throw ModelProblem.noProbabilities
    }
    images.append(image)
    return ["1": 1]
  }
}

private struct Source: ReaderSource {
  let reader: Reader
  var broken: Processors?
  /// Where the task that measures is cancelled.
  var cancelled: Processors?

  func reader(on processors: Processors) async throws -> any ImageReader {
    if processors == broken {
      throw ModelProblem.inputs(2)
    }
    if processors == cancelled {
      withUnsafeCurrentTask { $0?.cancel() }
    }
    return reader
  }
}

private struct Phone: DeviceDescription {
  let device = "iPhone16,1"
  let system = "iOS 18.1"
  let isSimulator = false
  let now = "2026-11-29T12:00:00Z"
}

@MainActor
struct DeviceReportTests {
  private func model(_ source: Source?) throws -> LoadedModel {
    let input = ModelDescription.Input(name: "image", size: ImageSize(width: 5, height: 3), colors: .rgb)
    let metadata = [
      "run_id": "386bbbe67d4f4084ba1ad7800d80c65e", "architecture": "pocket", "compression": "palette6",
      "com.github.apple.coremltools.conversion_date": "2026-11-29",
    ]
    return LoadedModel(
      facts: try ModelFacts(metadata: metadata, format: "neuralnetwork"),
      interface: try ModelInterface(
        ModelDescription(inputs: [input], probabilities: "output", labels: ["cat", "dog"])),
      reader: Reader(), source: source)
  }

  private func measured(_ session: SpeedSession) throws -> DeviceReport {
    guard case .measured(let report, _) = session.phase else {
      throw CocoaError(.featureUnsupported)
    }
    return report
  }

  @Test func loadFirstAnswerAndMedianOfAHundred() async throws {
    let reader = Reader()
    let session = SpeedSession(model: try model(Source(reader: reader)), description: Phone())
    await session.measure(clock: SlowingClock())
    let report = try measured(session)
    #expect(report.timings.map(\.processors) == [.cpu, .cpuAndNeuralEngine, .all])
    let first = try #require(report.timings.first)
    #expect((first.load, first.first, first.median, first.answers) == (1, 3, 104, 100))
    let images = await reader.images
    #expect(images.count == 3 * 101)
    #expect(Set(images).count == 1)
    #expect((images[0].width, images[0].height, images[0].channels) == (5, 3, 3))
  }

  /// The file that `experiments.device` is tested with is what this code encodes.
  @Test func theJSONIsWhatPythonReads() async throws {
    let session = SpeedSession(model: try model(Source(reader: Reader())), description: Phone())
    await session.measure(clock: SlowingClock())
    let report = try measured(session)
    let url = try #require(Bundle.module.url(forResource: "golden-device-report", withExtension: "json"))
    let golden = try String(contentsOf: url, encoding: .utf8).trimmingCharacters(in: .newlines)
    let json = try report.json
    let text = String(decoding: json, as: UTF8.self)
    #expect(text == golden, "\(text)")
    #expect(try JSONDecoder().decode(DeviceReport.self, from: json) == report)
  }

  @Test func itIsWrittenUnderANameThatSaysWhatItIs() async throws {
    let session = SpeedSession(model: try model(Source(reader: Reader())), description: Phone())
    await session.measure(clock: SlowingClock())
    guard case .measured(let report, let url) = session.phase else {
      Issue.record("\(session.phase)")
      return
    }
    #expect(url.lastPathComponent == "device-report-386bbbe6.json")
    let written = try Data(contentsOf: url)
    #expect(try written == report.json)
    try FileManager.default.removeItem(at: url)
  }

  @Test func whatFailsIsToldAndCanBeTriedAgain() async throws {
    let session = SpeedSession(
      model: try model(Source(reader: Reader(), broken: .cpuAndNeuralEngine)), description: Phone())
    await session.measure(clock: SlowingClock())
    guard case .failed(let error) = session.phase else {
      Issue.record("\(session.phase)")
      return
    }
    #expect(error as? ModelProblem == .inputs(2))
    #expect(session.timings.map(\.processors) == [.cpu])
    #expect(session.canMeasure)
  }

  @Test func aReportThatCannotBeWrittenIsTold() async throws {
    let session = SpeedSession(model: try model(Source(reader: Reader())), description: Phone())
    await session.measure(clock: SlowingClock(), into: URL(fileURLWithPath: "/no such folder"))
    guard case .failed = session.phase else {
      Issue.record("\(session.phase)")
      return
    }
    #expect(session.canMeasure)
  }

  /// As where the model's screen is closed: nothing goes on, and half a measurement is none.
  @Test func whereItIsCancelledNothingWasMeasured() async throws {
    let reader = Reader()
    let source = Source(reader: reader, cancelled: .cpuAndNeuralEngine)
    let session = SpeedSession(model: try model(source), description: Phone())
    await Task { await session.measure(clock: SlowingClock()) }.value
    guard case .ready = session.phase else {
      Issue.record("\(session.phase)")
      return
    }
    #expect(session.timings.isEmpty)
    #expect(await reader.images.count == 101 + 1)
  }

  @Test func theDeviceSaysWhatItIs() {
    let device = ThisDevice()
    #expect(!device.device.isEmpty)
    #expect(device.system.contains(/^\w+ \d+\.\d+/))
    #expect(device.now.contains(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/))
    #if targetEnvironment(simulator)
      #expect(device.isSimulator)
    #else
      #expect(!device.isSimulator)
    #endif
  }

  @Test func withoutASourceThereIsNothingToMeasure() async throws {
    let session = SpeedSession(model: try model(nil), description: Phone())
    #expect(!session.canMeasure)
    await session.measure(clock: SlowingClock())
    guard case .ready = session.phase else {
      Issue.record("\(session.phase)")
      return
    }
  }
}
