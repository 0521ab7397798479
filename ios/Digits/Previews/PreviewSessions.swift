import DigitKit
import Foundation

extension DrawingSession {
  /// A seven is on the pad and is being read.
  static func preview(confidences: [Double], failure: ReadingError? = nil) -> DrawingSession {
    let reader = PreviewReader(confidences: confidences, failure: failure)
    guard let model = try? LoadedModel.preview(labels: ModelInterface.digits.sorted(), reader: reader) else {
      preconditionFailure("The preview's model must fit the app.")
    }
    let session = DrawingSession(model: model)
    for (x, y) in [(0.25, 0.2), (0.75, 0.2), (0.4, 0.85)] {
      session.touch(PadPoint(x: x, y: y))
    }
    session.lift()
    return session
  }
}

extension PhotoSession {
  static func preview(failure: ReadingError? = nil) -> PhotoSession {
    let reader = PreviewReader(labels: ["cat", "dog", "horse"], failure: failure)
    guard
      let model = try? LoadedModel.preview(
        side: 64, colors: .rgb, labels: ["cat", "dog", "horse"], reader: reader)
    else {
      preconditionFailure("The preview's model must fit the app.")
    }
    return PhotoSession(model: model)
  }
}
