/// What a promoted model says about itself, read from the metadata that a promotion writes.
public struct ModelFacts: Sendable, Hashable {
  public let runID: String
  public let architecture: String
  public let dataset: String
  /// Share of the validation images that were read right, 0 to 1.
  public let validationAccuracy: Double?
  /// Day of the conversion, as coremltools wrote it.
  public let date: String?
  /// Size of the compiled model on this device.
  public let bytes: Int?
  public let license: String
  let preprocessingVersion: String?

  /// - Parameters:
  ///   - metadata: the file's user-defined metadata.
  ///   - license: the file's licence.
  ///   - bytes: size of the model on this device.
  public init(metadata: [String: String], license: String = "", bytes: Int? = nil) {
    runID = metadata["run_id"] ?? ""
    architecture = metadata["architecture"] ?? ""
    dataset = metadata["dataset"] ?? ""
    validationAccuracy = metadata["val_accuracy"].flatMap(Double.init)
    date = metadata["com.github.apple.coremltools.conversion_date"]
    preprocessingVersion = metadata["preprocessing_version"]
    self.license = license
    self.bytes = bytes
  }

  /// Why this app must not read drawings with the model; nil where it may.
  public var mismatch: String? {
    guard let preprocessingVersion else {
      return "The model does not say how its images are prepared. Promote one with python -m conversion.promote."
    }
    guard preprocessingVersion == String(Preprocessing.version) else {
      return """
        The model was made for version \(preprocessingVersion) of the preprocessing, this app has version \
        \(Preprocessing.version). Promote the model again, or build the app from the same commit.
        """
    }
    return nil
  }
}
