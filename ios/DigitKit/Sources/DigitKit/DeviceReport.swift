/// The processors of a device that Core ML may use.
public enum Processors: String, Codable, CaseIterable, Identifiable, Sendable {
  case cpu
  case cpuAndNeuralEngine = "cpu_and_neural_engine"
  case all

  public var id: Self { self }
}

/// How long a model takes on a device, as the app measured it: what `python -m experiments.device` reads.
public struct DeviceReport: Codable, Hashable, Sendable {
  /// Of the report's keys; Python knows the same.
  public static let version = 1

  public let version: Int
  /// The maker's name of the device, `iPhone16,1`.
  public let device: String
  /// Its system with its version, `iOS 18.1`.
  public let system: String
  public let isSimulator: Bool
  /// UTC, as ISO 8601 has it.
  public let measuredAt: String
  /// `neuralnetwork` or `mlprogram`; nil where the compiled model does not show it.
  public let format: String?
  /// All that the promotion wrote into the file: it tells which file this is.
  public let metadata: [String: String]
  public let timings: [Timing]

  public init(
    device: String, system: String, isSimulator: Bool, measuredAt: String, facts: ModelFacts, timings: [Timing]
  ) {
    version = Self.version
    self.device = device
    self.system = system
    self.isSimulator = isSimulator
    self.measuredAt = measuredAt
    format = facts.format
    metadata = facts.metadata
    self.timings = timings
  }

  enum CodingKeys: String, CodingKey {
    case version
    case device
    case system
    case isSimulator = "is_simulator"
    case measuredAt = "measured_at"
    case format
    case metadata
    case timings
  }
}

/// What one choice of processors takes; all in milliseconds.
public struct Timing: Codable, Hashable, Identifiable, Sendable {
  public let processors: Processors
  /// From the compiled file to a model that can be asked.
  public let load: Double
  /// The first answer, which sets up much.
  public let first: Double
  /// The median of the answers after the first.
  public let median: Double
  /// How many these were.
  public let answers: Int

  public var id: Processors { processors }

  public init(processors: Processors, load: Double, first: Double, median: Double, answers: Int) {
    self.processors = processors
    self.load = load
    self.first = first
    self.median = median
    self.answers = answers
  }

  enum CodingKeys: String, CodingKey {
    case processors
    case load = "load_ms"
    case first = "first_ms"
    case median = "median_ms"
    case answers
  }
}
