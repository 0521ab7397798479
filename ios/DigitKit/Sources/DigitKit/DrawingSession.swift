import Observation

/// What is on the pad and what the model says of it. A drawing is read once, when the finger lifts.
@MainActor
@Observable
public final class DrawingSession {
  public let model: LoadedModel
  public private(set) var drawing = Drawing()
  public private(set) var image = DigitImage()
  public private(set) var reading: Reading?
  /// Why the last drawing could not be read.
  public private(set) var failure: (any Error)?
  /// Whether a finger is on the pad.
  public private(set) var isDown = false
  /// Which way the image takes to the model.
  public var path = ReaderPath.vision {
    didSet {
      if path != oldValue {
        restart()
      }
    }
  }

  /// The reading of the drawing as it is; nil where the drawing has changed since, or is empty.
  @ObservationIgnored private var current: Task<Reading?, Never>?
  /// Of the drawing: raised with each change.
  @ObservationIgnored private var version = 0

  public init(model: LoadedModel) {
    self.model = model
  }

  /// The finger is at a point, given as shares of the pad's side.
  public func touch(_ point: PadPoint) {
    if isDown {
      drawing.move(to: point)
    } else {
      isDown = true
      drawing.begin(at: point)
    }
    version += 1
    current = nil
  }

  /// The finger has left the pad, or the system has taken the touch away.
  public func lift() {
    if isDown {
      isDown = false
      restart()
    }
  }

  public func undo() {
    drawing.undo()
    restart()
  }

  public func clear() {
    drawing.clear()
    restart()
  }

  /// The reading of what is on the pad now, nil for an empty pad or a failure.
  public func predict() async -> Reading? {
    if current == nil {
      restart()
    }
    return await current?.value
  }

  private func restart() {
    version += 1
    current = nil
    guard !drawing.isEmpty else {
      image = DigitImage()
      reading = nil
      failure = nil
      return
    }
    let (strokes, path, version) = (drawing.strokes, path, version)
    current = Task { await read(strokes, by: path, version: version) }
  }

  private func read(_ strokes: [[PadPoint]], by path: ReaderPath, version: Int) async -> Reading? {
    let image = Preprocessing.render(strokes, pad: 1)
    var found: Reading?
    var problem: (any Error)?
    do {
      found = Reading(
        confidences: try await model.reader.read(image.image, by: path),
        threshold: model.facts.threshold ?? Reading.threshold)
    } catch {
      problem = error
    }
    if version == self.version {
      self.image = image
      reading = found
      failure = problem
    }
    return found
  }
}
