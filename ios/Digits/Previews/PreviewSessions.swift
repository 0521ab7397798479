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
  static func preview(photograph: Photograph? = nil, failure: ReadingError? = nil) -> PhotoSession {
    let reader = PreviewReader(labels: ["cat", "dog", "horse"], failure: failure)
    guard
      let model = try? LoadedModel.preview(
        side: 64, colors: .rgb, labels: ["cat", "dog", "horse"], reader: reader)
    else {
      preconditionFailure("The preview's model must fit the app.")
    }
    let session = PhotoSession(model: model)
    if let photograph {
      Task { await session.read(photograph) }
    }
    return session
  }
}

extension Photograph {
  /// A disc before a slope of colours.
  static let preview = Photograph(
    image: PixelImage(width: 160, height: 120, channels: 3, pixels: (0..<160 * 120).flatMap(previewPixel)))

  private static func previewPixel(_ index: Int) -> [UInt8] {
    let (row, column) = index.quotientAndRemainder(dividingBy: 160)
    let (x, y) = (column - 80, row - 60)
    return x * x + y * y < 1600 ? [250, 220, 90] : [UInt8(column), UInt8(row * 2), 180]
  }
}

extension Reading {
  static let preview = Reading(
    confidences: ["Great Pyrenees mountain dog": 0.52, "Golden retriever": 0.4, "Cat": 0.08], threshold: nil)
}
