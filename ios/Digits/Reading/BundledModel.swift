import CoreML
import DigitKit
import Foundation

/// The promoted model in the app's bundle.
///
/// It is loaded by name and has no generated class: an `.mlmodel` and an `.mlpackage` both compile to an `.mlmodelc`, and
/// an app without a model still builds.
struct BundledModel: ModelLoader {
  func load() async throws -> Readers? {
    guard
      let url = Bundle.main.url(forResource: ModelInterface.resource, withExtension: "mlmodelc")
    else {
      return nil
    }
    let direct = try CoreMLReader(url: url)
    return Readers(facts: direct.facts, vision: try VisionReader(url: url), direct: direct)
  }
}

extension MLModelConfiguration {
  /// All processors of a device; the simulator has no Neural Engine and a GPU that cannot be trusted.
  static var app: MLModelConfiguration {
    let configuration = MLModelConfiguration()
    #if targetEnvironment(simulator)
      configuration.computeUnits = .cpuOnly
    #endif
    return configuration
  }
}

extension ModelFacts {
  /// - Parameters:
  ///   - model: a loaded model.
  ///   - url: its compiled folder.
  init(model: MLModel, url: URL) {
    let metadata = model.modelDescription.metadata
    self.init(
      metadata: metadata[.creatorDefinedKey] as? [String: String] ?? [:],
      license: metadata[.license] as? String ?? "",
      bytes: Self.bytes(of: url)
    )
  }

  /// Bytes of all files in a folder; nil where it cannot be read.
  private static func bytes(of folder: URL) -> Int? {
    FileManager.default
      .enumerator(at: folder, includingPropertiesForKeys: [.fileSizeKey])?
      .compactMap { ($0 as? URL).flatMap { try? $0.resourceValues(forKeys: [.fileSizeKey]).fileSize } }
      .reduce(0, +)
  }
}
