/// What the app expects of the promoted model; `ios/check` holds the file in `Digits/Model` to it.
public enum ModelInterface {
  /// Base name of the model in the app's bundle.
  public static let resource = "DigitClassifier"
  /// Input: a grayscale image of `Preprocessing.side` by `Preprocessing.side` pixels.
  public static let image = "image"
  /// Output: a dictionary from label to confidence.
  public static let probabilities = "output"
  /// Output: the most probable label.
  public static let label = "classLabel"
}
