import DigitKit
import SwiftUI

/// A square to draw on. Points are kept as shares of its side, so that a turn of the device moves nothing.
struct PadView: View {
  let session: DrawingSession
  @GestureState private var isTouched = false

  var body: some View {
    let strokes = session.drawing.strokes
    GeometryReader { geometry in
      let side = min(geometry.size.width, geometry.size.height)
      StrokesView(strokes: strokes)
        .gesture(
          DragGesture(minimumDistance: 0)
            .updating($isTouched) { _, touched, _ in touched = true }
            .onChanged { drag in
              session.touch(
                PadPoint(x: share(drag.location.x, of: side), y: share(drag.location.y, of: side)))
            }
            .onEnded { _ in lift() }
        )
    }
    .onChange(of: isTouched) { _, touched in
      if !touched {  // where the system took the touch away no end is told
        lift()
      }
    }
    .aspectRatio(1, contentMode: .fit)
    .background(.background.secondary, in: .rect(cornerRadius: 20))
    .accessibilityElement()
    .accessibilityIdentifier("pad")
    .accessibilityLabel("Drawing pad")
    .accessibilityValue("\(strokes.count) strokes")
    .accessibilityHint("Draw a digit with one finger.")
    .accessibilityDirectTouch(options: .silentOnTouch)
    .accessibilityAction(named: "Undo") {
      session.undoAloud()
    }
    .accessibilityAction(named: "Clear") {
      session.clearAloud()
    }
  }

  private func lift() {
    if session.isDown {
      session.lift()
      Task { await session.announceReading() }
    }
  }

  /// Points outside the pad are shown at its edge, where they are read too.
  private func share(_ value: CGFloat, of side: CGFloat) -> Double {
    side > 0 ? min(max(Double(value / side), 0), 1) : 0
  }
}

/// Strokes as lines; drawn anew whenever they change.
struct StrokesView: View {
  let strokes: [[PadPoint]]

  /// Share of the side: how wide a line is shown. What the model sees has its own pen.
  private static let line = 0.06

  var body: some View {
    let strokes = strokes  // what the closure draws is the value that this body was made for
    Canvas { context, size in
      let side = min(size.width, size.height)
      context.stroke(
        Self.path(strokes, side: side),
        with: .color(.primary),
        style: StrokeStyle(lineWidth: Self.line * side, lineCap: .round, lineJoin: .round)
      )
    }
  }

  private nonisolated static func path(_ strokes: [[PadPoint]], side: CGFloat) -> Path {
    var path = Path()
    for stroke in strokes {
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

#Preview {
  StrokesView(strokes: [[PadPoint(x: 0.25, y: 0.2), PadPoint(x: 0.75, y: 0.2), PadPoint(x: 0.4, y: 0.85)]])
}
