/// A model's own description in plain values, as Core ML gives it.
public struct ModelDescription: Sendable, Hashable {
  public struct Input: Sendable, Hashable {
    public let name: String
    /// Pixels; nil where the input is no image.
    public let size: ImageSize?
    /// Nil for a pixel format that the app cannot fill.
    public let colors: ModelInterface.Colors?

    public init(name: String, size: ImageSize?, colors: ModelInterface.Colors?) {
      self.name = name
      self.size = size
      self.colors = colors
    }
  }

  public let inputs: [Input]
  /// Name of the output from label to confidence; nil where there is none.
  public let probabilities: String?
  /// Nil where they are no texts.
  public let labels: [String]?

  public init(inputs: [Input], probabilities: String?, labels: [String]?) {
    self.inputs = inputs
    self.probabilities = probabilities
    self.labels = labels
  }
}

/// Width and height in pixels.
public struct ImageSize: Sendable, Hashable {
  public let width: Int
  public let height: Int

  public init(width: Int, height: Int) {
    self.width = width
    self.height = height
  }
}

/// What goes into a classifier of images and what comes out, as far as the app can use it.
public struct ModelInterface: Sendable, Hashable {
  /// Base names of the model in the app's bundle; the first that is there is used: a person's own, promoted digits, the
  /// repository's digits.
  public static let resources = ["Classifier", "DigitClassifier", "BundledDigits"]
  /// Labels of a model that reads drawings.
  public static let digits: Set<String> = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]

  public enum Colors: Sendable, Hashable {
    case gray
    case rgb
  }

  /// The screen that a model is used on.
  public enum Mode: Sendable, Hashable {
    case drawing
    case photographs
  }

  /// Name of the image's input.
  public let image: String
  public let size: ImageSize
  public let colors: Colors
  /// Name of the output from label to confidence.
  public let probabilities: String
  public let labels: [String]

  public init(_ description: ModelDescription) throws(ModelProblem) {
    guard let input = description.inputs.first, description.inputs.count == 1 else {
      throw .inputs(description.inputs.count)
    }
    guard let size = input.size, size.width > 0, size.height > 0 else {
      throw .notAnImage(input.name)
    }
    guard let colors = input.colors else {
      throw .pixelFormat(input.name)
    }
    guard let probabilities = description.probabilities else {
      throw .noProbabilities
    }
    guard let labels = description.labels, labels.count > 1 else {
      throw .labels
    }
    image = input.name
    self.size = size
    self.colors = colors
    self.probabilities = probabilities
    self.labels = labels
  }

  /// Digits in the pad's size and colour are drawn, everything else is photographed.
  public var mode: Mode {
    let pad = ImageSize(width: Preprocessing.side, height: Preprocessing.side)
    return size == pad && colors == .gray && Set(labels) == Self.digits ? .drawing : .photographs
  }
}

/// Why the app cannot use a model.
public enum ModelProblem: Error, Hashable {
  /// There is not one input, but so many.
  case inputs(Int)
  case notAnImage(String)
  case pixelFormat(String)
  case noProbabilities
  case labels
  /// It does not say how its drawings are prepared.
  case noPreprocessing
  /// It was made for another version of the preprocessing than the app's.
  case preprocessing(String)
  /// It wants images fitted in a way that the app does not know.
  case fit(String)
  case background(String)
  case threshold(String)
}
