import DigitKit
import Foundation
import Observation

/// What is on the pad and what the model says of it.
@MainActor
@Observable
final class Session {
  /// Whether there is a model, and whether drawings may be given to it.
  enum Phase: Equatable {
    case loading
    /// No promotion has put a model into the app.
    case missing
    /// There is a model that must not or cannot be used, and why.
    case refused(String)
    case ready(ModelFacts)
  }

  private(set) var phase = Phase.loading
  private(set) var drawing = Drawing()
  private(set) var image = DigitImage()
  private(set) var reading: Reading?
  /// Why the last drawing could not be read.
  private(set) var failure: String?
  /// Which way the image takes to the model.
  var path = ReaderPath.vision {
    didSet { changed() }
  }

  private let loader: any ModelLoader
  private var readers: Readers?
  private var isReading = false
  private var isStale = false

  init(loader: any ModelLoader = BundledModel()) {
    self.loader = loader
  }

  func load() async {
    do {
      guard let readers = try await loader.load() else {
        phase = .missing
        return
      }
      if let mismatch = readers.facts.mismatch {
        phase = .refused(mismatch)
      } else {
        self.readers = readers
        phase = .ready(readers.facts)
      }
    } catch {
      phase = .refused("The model cannot be loaded: \(error.localizedDescription)")
    }
  }

  /// Puts the finger down; points are shares of the pad's side.
  func begin(at point: PadPoint) {
    drawing.begin(at: point)
    changed()
  }

  func move(to point: PadPoint) {
    drawing.move(to: point)
    changed()
  }

  func undo() {
    drawing.undo()
    changed()
  }

  func clear() {
    drawing.clear()
    changed()
  }

  /// Reads what is on the pad now and returns the reading, nil for an empty pad or a failure.
  func predict() async -> Reading? {
    guard let readers, !drawing.isEmpty else {
      return nil
    }
    let drawn = drawing
    let image = Preprocessing.render(drawn.strokes, pad: 1)
    do {
      let reading = try await readers.reader(for: path).read(image)
      if drawn == drawing {
        self.image = image
        self.reading = reading
        failure = nil
      }
      return reading
    } catch {
      if drawn == drawing {
        reading = nil
        failure = "The model did not answer: \(error.localizedDescription)"
      }
      return nil
    }
  }

  /// Reads along: one reading at a time, and what changed meanwhile is read next.
  private func changed() {
    guard !drawing.isEmpty else {
      image = DigitImage()
      reading = nil
      failure = nil
      return
    }
    guard !isReading else {
      isStale = true
      return
    }
    isReading = true
    Task {
      repeat {
        isStale = false
        _ = await predict()
      } while isStale && !drawing.isEmpty
      isReading = false
    }
  }
}
