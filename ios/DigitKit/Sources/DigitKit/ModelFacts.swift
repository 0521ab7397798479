/// What a promoted model says about itself, read from the metadata that a promotion writes.
public struct ModelFacts: Sendable, Hashable {
  public let runID: String
  public let architecture: String
  public let dataset: String
  /// Share of the validation images that were read right, 0 to 1.
  public let validationAccuracy: Double?
  /// How photographs are brought to the model's size; the centre is cut out where the file does not say.
  public let fit: Fit
  /// Beneath what is transparent and beside what is kept whole; white where the file does not say.
  public let background: Background
  /// Confidence below which the answer is "I do not know"; nil where the file names none.
  public let threshold: Double?
  /// Day of the conversion, as coremltools wrote it.
  public let date: String?
  /// Size of the compiled model on this device.
  public let bytes: Int?
  public let license: String
  /// Everything that the promotion wrote.
  public let metadata: [String: String]
  /// `neuralnetwork` or `mlprogram`; nil where it is not known.
  public let format: String?
  let preprocessingVersion: String?

  /// - Parameters:
  ///   - metadata: the file's user-defined metadata.
  ///   - license: the file's licence.
  ///   - bytes: size of the model on this device.
  ///   - format: neuralnetwork or mlprogram.
  public init(
    metadata: [String: String], license: String = "", bytes: Int? = nil, format: String? = nil
  ) throws(ModelProblem) {
    self.metadata = metadata
    self.format = format
    runID = metadata["run_id"] ?? ""
    architecture = metadata["architecture"] ?? ""
    dataset = metadata["dataset"] ?? ""
    validationAccuracy = metadata["val_accuracy"].flatMap(Double.init)
    preprocessingVersion = metadata["preprocessing_version"]
    fit = try Self.fit(metadata["fit"])
    background = try Self.background(metadata["background"])
    threshold = try Self.threshold(metadata["threshold"])
    date = metadata["com.github.apple.coremltools.conversion_date"]
    self.license = license
    self.bytes = bytes
  }

  /// Why drawings must not be given to the model; nil where they may.
  public var drawingProblem: ModelProblem? {
    guard let preprocessingVersion else {
      return .noPreprocessing
    }
    return preprocessingVersion == String(Preprocessing.version) ? nil : .preprocessing(preprocessingVersion)
  }

  private static func fit(_ text: String?) throws(ModelProblem) -> Fit {
    guard let text else {
      return .crop
    }
    guard let fit = Fit(rawValue: text) else {
      throw .fit(text)
    }
    return fit
  }

  private static func background(_ text: String?) throws(ModelProblem) -> Background {
    guard let text else {
      return .white
    }
    guard let background = Background(text) else {
      throw .background(text)
    }
    return background
  }

  private static func threshold(_ text: String?) throws(ModelProblem) -> Double? {
    guard let text else {
      return nil
    }
    guard let value = Double(text), (0...1).contains(value) else {
      throw .threshold(text)
    }
    return value
  }
}
