import Observation

/// The last photograph and what the model says of it.
@MainActor
@Observable
public final class PhotoSession {
  public let model: LoadedModel
  /// The picture that the model was given.
  public private(set) var seen: PixelImage?
  public private(set) var reading: Reading?
  /// Why the last photograph could not be read.
  public private(set) var failure: (any Error)?
  /// Which way the picture takes to the model.
  public var path = ReaderPath.vision

  @ObservationIgnored private var latest = 0

  public init(model: LoadedModel) {
    self.model = model
  }

  /// Brings a photograph to the model's size and asks the model; a later call's answer is not overwritten.
  public func read(_ photograph: Photograph) async {
    latest += 1
    let turn = latest
    do {
      let image = await prepared(photograph)
      let confidences = try await model.reader.read(image, by: path)
      if turn == latest {
        seen = image
        reading = Reading(confidences: confidences, threshold: model.facts.threshold)
        failure = nil
      }
    } catch {
      if turn == latest {
        fail(error)
      }
    }
  }

  /// There is no photograph to read.
  public func fail(_ error: any Error) {
    latest += 1
    seen = nil
    reading = nil
    failure = error
  }

  /// Off the main actor: it takes long for a photograph of many pixels.
  nonisolated private func prepared(_ photograph: Photograph) async -> PixelImage {
    photograph.fitted(
      to: model.interface.size, colors: model.interface.colors, fit: model.facts.fit,
      background: model.facts.background)
  }
}
