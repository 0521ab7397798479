import DigitKit
import XCTest

final class DrawingTests: XCTestCase {
  func testStrokes() {
    var drawing = Drawing()
    XCTAssertTrue(drawing.isEmpty)
    drawing.begin(at: Point(x: 1, y: 2))
    drawing.move(to: Point(x: 3, y: 4))
    drawing.begin(at: Point(x: 5, y: 6))
    XCTAssertEqual(drawing.strokes, [[Point(x: 1, y: 2), Point(x: 3, y: 4)], [Point(x: 5, y: 6)]])
    drawing.undo()
    XCTAssertEqual(drawing.strokes.count, 1)
    drawing.clear()
    drawing.undo()
    XCTAssertTrue(drawing.isEmpty)
  }

  func testAMoveWithoutABeginning() {
    var drawing = Drawing()
    drawing.move(to: Point(x: 1, y: 2))
    XCTAssertEqual(drawing.strokes, [[Point(x: 1, y: 2)]])
  }
}
