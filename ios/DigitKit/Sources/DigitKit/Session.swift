import Observation

/// Loads the model and chooses the screen that it is used on.
@MainActor
@Observable
public final class Session {
  public enum Phase {
    case loading
    /// No promotion has put a model into the app.
    case missing
    /// There is a model that must not or cannot be used, and why.
    case refused(any Error)
    case drawing(DrawingSession)
    case photographs(PhotoSession)
  }

  public private(set) var phase = Phase.loading

  private let loader: any ModelLoader

  public init(loader: any ModelLoader) {
    self.loader = loader
  }

  public func load() async {
    do {
      guard let model = try await loader.load() else {
        phase = .missing
        return
      }
      switch model.interface.mode {
      case .drawing:
        if let problem = model.facts.drawingProblem {
          throw problem
        }
        phase = .drawing(DrawingSession(model: model))
      case .photographs:
        phase = .photographs(PhotoSession(model: model))
      }
    } catch {
      phase = .refused(error)
    }
  }
}
