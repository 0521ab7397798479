import XCTest

@MainActor
final class DrawingUITests: XCTestCase {
  /// With a model a line is read and cleared; without one the app says what to do.
  func testDrawPredictClear() {
    let app = launched()
    let pad = app.descendants(matching: .any)["pad"]
    guard pad.waitForExistence(timeout: 10) else {
      XCTAssertTrue(app.staticTexts["No model yet"].exists)
      return
    }
    let predict = app.buttons["predict"]
    XCTAssertFalse(predict.isEnabled)
    pad.coordinate(withNormalizedOffset: CGVector(dx: 0.5, dy: 0.15))
      .press(
        forDuration: 0.05,
        thenDragTo: pad.coordinate(withNormalizedOffset: CGVector(dx: 0.5, dy: 0.85)))
    XCTAssertTrue(predict.isEnabled)
    predict.tap()
    let answer = app.staticTexts["answer"]
    XCTAssertTrue(answer.label.contains("1"), answer.label)
    app.buttons["clear"].tap()
    XCTAssertFalse(predict.isEnabled)
  }

  func testTheModelScreen() {
    let app = launched()
    let model = app.buttons["model"]
    guard model.waitForExistence(timeout: 10) else {
      XCTAssertTrue(app.staticTexts["No model yet"].exists)
      return
    }
    model.tap()
    XCTAssertTrue(app.staticTexts["Run"].waitForExistence(timeout: 5))
    app.buttons["Done"].tap()
    XCTAssertTrue(app.descendants(matching: .any)["pad"].waitForExistence(timeout: 5))
  }

  private func launched() -> XCUIApplication {
    continueAfterFailure = false
    let app = XCUIApplication()
    app.launch()
    return app
  }
}
