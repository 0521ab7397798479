import DigitKit
import SwiftUI

/// A square to draw on. Points are kept as shares of its side, so that a turn of the device moves nothing.
struct PadView: View {
  let session: Session
  @State private var isDown = false
  @GestureState private var isTouched = false

  /// Share of the side: how wide a line is shown. What the model sees has its own pen.
  private static let line = 0.06

  var body: some View {
    GeometryReader { geometry in
      let side = min(geometry.size.width, geometry.size.height)
      Canvas { context, _ in
        context.stroke(
          path(side: side),
          with: .color(.primary),
          style: StrokeStyle(lineWidth: Self.line * side, lineCap: .round, lineJoin: .round)
        )
      }
      .gesture(
        DragGesture(minimumDistance: 0)
          .onChanged { drag in
            let point = PadPoint(
              x: share(drag.location.x, of: side), y: share(drag.location.y, of: side))
            if isDown {
              session.move(to: point)
            } else {
              isDown = true
              session.begin(at: point)
            }
          }
          .updating($isTouched) { _, touched, _ in touched = true }
      )
    }
    .onChange(of: isTouched) { _, touched in
      if !touched {  // also where the system took the touch away
        isDown = false
        Task { await announceReading() }
      }
    }
    .aspectRatio(1, contentMode: .fit)
    .background(.background.secondary, in: .rect(cornerRadius: 20))
    .accessibilityElement()
    .accessibilityIdentifier("pad")
    .accessibilityLabel("Drawing pad")
    .accessibilityValue(strokes)
    .accessibilityHint("Draw a digit with one finger.")
    .accessibilityAddTraits(.allowsDirectInteraction)
    .accessibilityAction(named: "Take back a stroke") {
      session.undo()
    }
    .accessibilityAction(named: "Clear") {
      session.clear()
    }
  }

  private var strokes: LocalizedStringKey {
    switch session.drawing.strokes.count {
    case 0: "Empty"
    case 1: "1 stroke"
    case let count: "\(count) strokes"
    }
  }

  private func announceReading() async {
    let reading = await session.predict()
    if let text = reading?.spoken ?? session.failure {
      announce(text)
    }
  }

  /// Points outside the pad are shown at its edge, where they are read too.
  private func share(_ value: CGFloat, of side: CGFloat) -> Double {
    side > 0 ? min(max(Double(value / side), 0), 1) : 0
  }

  private func path(side: CGFloat) -> Path {
    var path = Path()
    for stroke in session.drawing.strokes {
      let points = stroke.map { CGPoint(x: $0.x * side, y: $0.y * side) }
      guard let first = points.first else {
        continue
      }
      path.move(to: first)
      path.addLine(to: first)
      for point in points.dropFirst() {
        path.addLine(to: point)
      }
    }
    return path
  }
}
