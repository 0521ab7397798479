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

  /// As `read(loading:)`, of a photograph that is here.
  @discardableResult public func read(_ photograph: Photograph) async -> Bool {
    await read(loading: { photograph })
  }

  /// Brings a photograph to the model's size and asks the model.
  ///
  /// - Parameter load: brings the photograph, which may take long; a later call's answer is not overwritten.
  /// - Returns: whether the answer, or the failure, is what the session shows now.
  @discardableResult public func read(loading load: @MainActor () async throws -> Photograph) async -> Bool {
    latest += 1
    let turn = latest
    do {
      let image = await prepared(try await load())
      let confidences = try await model.reader.read(image, by: path)
      guard turn == latest else {
        return false
      }
      seen = image
      reading = Reading(confidences: confidences, threshold: model.facts.threshold)
      failure = nil
    } catch {
      guard turn == latest else {
        return false
      }
      seen = nil
      reading = nil
      failure = error
    }
    return true
  }

  /// Off the main actor: it takes long for a photograph of many pixels.
  nonisolated private func prepared(_ photograph: Photograph) async -> PixelImage {
    photograph.fitted(
      to: model.interface.size, colors: model.interface.colors, fit: model.facts.fit,
      background: model.facts.background)
  }
}
