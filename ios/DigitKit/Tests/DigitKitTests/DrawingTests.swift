import DigitKit
import Testing

struct DrawingTests {
  @Test func strokes() {
    var drawing = Drawing()
    #expect(drawing.isEmpty)
    drawing.begin(at: PadPoint(x: 1, y: 2))
    drawing.move(to: PadPoint(x: 3, y: 4))
    drawing.begin(at: PadPoint(x: 5, y: 6))
    #expect(drawing.strokes == [[PadPoint(x: 1, y: 2), PadPoint(x: 3, y: 4)], [PadPoint(x: 5, y: 6)]])
    drawing.undo()
    #expect(drawing.strokes.count == 1)
    drawing.clear()
    drawing.undo()
    #expect(drawing.isEmpty)
  }

  @Test func aMoveWithoutABeginning() {
    var drawing = Drawing()
    drawing.move(to: PadPoint(x: 1, y: 2))
    #expect(drawing.strokes == [[PadPoint(x: 1, y: 2)]])
  }
}
