/// One class and the model's confidence in it, from 0 to 1.
public struct Guess: Sendable, Hashable, Identifiable {
  public let label: String
  public let confidence: Double

  public var id: String { label }

  public init(label: String, confidence: Double) {
    self.label = label
    self.confidence = confidence
  }
}

/// What the model says of an image.
public struct Reading: Sendable, Hashable {
  /// Of drawings: the confidence below which the answer is "I do not know" where the model's file names none.
  public static let threshold = 0.6
  /// How many guesses are shown.
  public static let shown = 3

  /// The best guesses, the most confident first; labels decide between equals.
  public let best: [Guess]
  /// Confidence below which there is no answer; nil where every guess is one.
  public let threshold: Double?

  /// - Parameters:
  ///   - confidences: by label, from 0 to 1; values that are not finite count as 0.
  ///   - threshold: the confidence below which there is no answer.
  public init(confidences: [String: Double], threshold: Double?) {
    best = Array(
      confidences
        .map { Guess(label: $0.key, confidence: $0.value.isFinite ? $0.value : 0) }
        .sorted { ($1.confidence, $0.label) < ($0.confidence, $1.label) }
        .prefix(Self.shown))
    self.threshold = threshold
  }

  /// The model's answer; nil where it does not know.
  public var answer: Guess? {
    best.first.flatMap { $0.confidence >= threshold ?? 0 ? $0 : nil }
  }
}
