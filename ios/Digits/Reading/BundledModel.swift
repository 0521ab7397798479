import CoreML
import CoreVideo
import DigitKit
import Foundation

/// The model in the app's bundle: the promoted one, or the repository's before there is one.
///
/// It is loaded by name and has no generated class: an `.mlmodel` and an `.mlpackage` both compile to an `.mlmodelc`, and
/// an app without a model still builds.
struct BundledModel: ModelLoader {
  func load() async throws -> LoadedModel? {
    let urls = ModelInterface.resources.compactMap { Bundle.main.url(forResource: $0, withExtension: "mlmodelc") }
    guard let url = urls.first else {
      return nil
    }
    let reader = try await ModelReader.load(url: url)
    return LoadedModel(
      facts: reader.facts, interface: reader.interface, reader: reader, source: CompiledModel(url: url))
  }
}

/// The model's compiled folder.
struct CompiledModel: ReaderSource {
  let url: URL

  func reader(on processors: Processors) async throws -> any ImageReader {
    try await ModelReader.load(url: url, on: processors)
  }
}

extension MLModelConfiguration {
  /// Some processors of a device; the simulator has no Neural Engine and a GPU that cannot be trusted.
  convenience init(processors: Processors) {
    self.init()
    #if targetEnvironment(simulator)
      computeUnits = .cpuOnly
    #else
      computeUnits =
        switch processors {
        case .cpu: .cpuOnly
        case .cpuAndNeuralEngine: .cpuAndNeuralEngine
        case .all: .all
        }
    #endif
  }
}

extension ModelFacts {
  /// - Parameters:
  ///   - model: a loaded model.
  ///   - url: its compiled folder.
  init(model: MLModel, url: URL) throws(ModelProblem) {
    let metadata = model.modelDescription.metadata
    try self.init(
      metadata: metadata[.creatorDefinedKey] as? [String: String] ?? [:],
      license: metadata[.license] as? String ?? "",
      bytes: Self.bytes(of: url),
      format: Self.format(of: url)
    )
  }

  /// By the files that Core ML's compiler makes of each; nil where neither is there.
  private static func format(of folder: URL) -> String? {
    let files = ["mlprogram": "model.mil", "neuralnetwork": "model.espresso.net"]
    return files.first { FileManager.default.fileExists(atPath: folder.appendingPathComponent($0.value).path) }?.key
  }

  /// Bytes of all files in a folder; nil where it cannot be read.
  private static func bytes(of folder: URL) -> Int? {
    FileManager.default
      .enumerator(at: folder, includingPropertiesForKeys: [.fileSizeKey])?
      .compactMap { ($0 as? URL).flatMap { try? $0.resourceValues(forKeys: [.fileSizeKey]).fileSize } }
      .reduce(0, +)
  }
}

extension ModelDescription {
  init(_ description: MLModelDescription) {
    self.init(
      inputs: description.inputDescriptionsByName.values.map { input in
        Input(
          name: input.name,
          size: input.imageConstraint.map { ImageSize(width: $0.pixelsWide, height: $0.pixelsHigh) },
          colors: input.imageConstraint.flatMap { ModelInterface.Colors(pixelFormat: $0.pixelFormatType) }
        )
      },
      probabilities: description.predictedProbabilitiesName,
      labels: description.classLabels as? [String]
    )
  }
}

extension ModelInterface.Colors {
  /// Nil for a format that the app does not fill, one of 16 bits for instance.
  fileprivate init?(pixelFormat: OSType) {
    switch pixelFormat {
    case kCVPixelFormatType_OneComponent8: self = .gray
    case kCVPixelFormatType_32BGRA, kCVPixelFormatType_32ARGB: self = .rgb
    default: return nil
    }
  }
}
