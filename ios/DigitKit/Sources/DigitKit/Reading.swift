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

/// What the model says of a drawing.
public struct Reading: Sendable, Hashable {
  /// Confidence below which the app says that it is not sure.
  public static let threshold = 0.6
  /// How many guesses are shown.
  public static let shown = 3

  /// The best guesses, the most confident first; labels decide between equals.
  public let best: [Guess]

  /// - Parameter confidences: by label, from 0 to 1; values that are not finite count as 0.
  public init(confidences: [String: Double]) {
    best = Array(
      confidences
        .map { Guess(label: $0.key, confidence: $0.value.isFinite ? $0.value : 0) }
        .sorted { ($1.confidence, $0.label) < ($0.confidence, $1.label) }
        .prefix(Self.shown))
  }

  /// The model's answer; nil where it is not sure.
  public var answer: Guess? {
    best.first.flatMap { $0.confidence >= Self.threshold ? $0 : nil }
  }

  /// The reading as a sentence for VoiceOver.
  public var spoken: String {
    guard let first = best.first else {
      return "No reading."
    }
    let confidence = "\(Int((first.confidence * 100).rounded())) percent"
    guard answer == nil else {
      return "\(first.label), \(confidence)."
    }
    let others = best.dropFirst().map(\.label).joined(separator: " or ")
    return "Not sure. Perhaps \(first.label), \(confidence)\(others.isEmpty ? "" : ", or \(others)")."
  }
}
