/// How a photograph of any proportions is brought to a model's.
public enum Fit: String, Sendable, Hashable, CaseIterable {
  /// Its centre is cut out in the model's proportions.
  case crop
  /// It is kept whole, with the model's background beside it.
  case pad
  /// It is stretched.
  case squash
}
