/// A loaded model that answers images of its own size.
public protocol ImageReader: Sendable {
  /// Confidences by label.
  func read(_ image: PixelImage, by path: ReaderPath) async throws -> [String: Double]
}

/// The ways to a model.
public enum ReaderPath: CaseIterable, Identifiable, Sendable {
  /// Through Vision, as the tutorial's app goes.
  case vision
  /// A pixel buffer given to Core ML.
  case direct

  public var id: Self { self }

  /// What Apple calls it, in every language.
  public var name: String {
    switch self {
    case .vision: "Vision"
    case .direct: "Core ML"
    }
  }
}

/// A model that may be used: what it says of itself, and the reader that asks it.
public struct LoadedModel: Sendable {
  public let facts: ModelFacts
  public let interface: ModelInterface
  public let reader: any ImageReader
  /// Loads it again, to be timed; nil where that cannot be.
  public let source: (any ReaderSource)?

  public init(
    facts: ModelFacts, interface: ModelInterface, reader: any ImageReader, source: (any ReaderSource)? = nil
  ) {
    self.facts = facts
    self.interface = interface
    self.reader = reader
    self.source = source
  }
}

/// Where the model comes from; nil where there is none.
public protocol ModelLoader: Sendable {
  func load() async throws -> LoadedModel?
}
