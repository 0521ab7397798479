/// Loads the app's model anew, for a choice of processors.
public protocol ReaderSource: Sendable {
  func reader(on processors: Processors) async throws -> any ImageReader
}

/// Times a model: loading it, its first answer, and the median of the next ones.
public struct Stopwatch<Time: Clock<Duration>>: Sendable {
  /// How many answers the median is of.
  public static var answers: Int { 100 }

  private let clock: Time

  public init(clock: Time) {
    self.clock = clock
  }

  /// Times the model through Core ML, without Vision, on an image of noise. Ends early where its task is cancelled.
  public func time(_ source: any ReaderSource, interface: ModelInterface, on processors: Processors) async throws
    -> Timing
  {
    let image = PixelImage.noise(size: interface.size, colors: interface.colors)
    var start = clock.now
    let reader = try await source.reader(on: processors)
    let load = milliseconds(since: start)
    start = clock.now
    _ = try await reader.read(image, by: .direct)
    let first = milliseconds(since: start)
    var each: [Double] = []
    for _ in 0..<Self.answers {
      try Task.checkCancellation()
      start = clock.now
      _ = try await reader.read(image, by: .direct)
      each.append(milliseconds(since: start))
    }
    each.sort()
    let median = (each[(each.count - 1) / 2] + each[each.count / 2]) / 2
    return Timing(processors: processors, load: load, first: first, median: median, answers: each.count)
  }

  private func milliseconds(since start: Time.Instant) -> Double {
    let (seconds, attoseconds) = start.duration(to: clock.now).components
    return Double(seconds) * 1e3 + Double(attoseconds) / 1e15
  }
}

extension PixelImage {
  /// Pixels of every value, the same each time.
  static func noise(size: ImageSize, colors: ModelInterface.Colors) -> PixelImage {
    let channels = colors == .gray ? 1 : 3
    var state: UInt32 = 1
    let pixels = (0..<size.width * size.height * channels).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return UInt8(truncatingIfNeeded: state >> 24)
    }
    return PixelImage(width: size.width, height: size.height, channels: channels, pixels: pixels)
  }
}
