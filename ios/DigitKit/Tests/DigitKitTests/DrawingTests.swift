import DigitKit
import XCTest

final class DrawingTests: XCTestCase {
  func testStrokes() {
    var drawing = Drawing()
    XCTAssertTrue(drawing.isEmpty)
    drawing.begin(at: PadPoint(x: 1, y: 2))
    drawing.move(to: PadPoint(x: 3, y: 4))
    drawing.begin(at: PadPoint(x: 5, y: 6))
    XCTAssertEqual(drawing.strokes, [[PadPoint(x: 1, y: 2), PadPoint(x: 3, y: 4)], [PadPoint(x: 5, y: 6)]])
    drawing.undo()
    XCTAssertEqual(drawing.strokes.count, 1)
    drawing.clear()
    drawing.undo()
    XCTAssertTrue(drawing.isEmpty)
  }

  func testAMoveWithoutABeginning() {
    var drawing = Drawing()
    drawing.move(to: PadPoint(x: 1, y: 2))
    XCTAssertEqual(drawing.strokes, [[PadPoint(x: 1, y: 2)]])
  }
}
