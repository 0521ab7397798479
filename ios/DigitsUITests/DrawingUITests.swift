import XCTest

/// The screens as a person meets them. Those of drawings are skipped where the model is one of photographs.
@MainActor
final class DrawingUITests: XCTestCase {
  func testWithoutAModel() throws {
    let app = launched("-no-model")
    XCTAssertTrue(app.staticTexts["No model yet"].waitForExistence(timeout: 10))
    XCTAssertFalse(app.descendants(matching: .any)["pad"].exists)
    try app.performAccessibilityAudit()
  }

  func testDrawPredictClear() throws {
    try drawPredictClear(in: launched())
  }

  func testDarkMode() throws {
    let appearance = XCUIDevice.shared.appearance
    addTeardownBlock { XCUIDevice.shared.appearance = appearance }
    XCUIDevice.shared.appearance = .dark
    try drawPredictClear(in: launched())
  }

  func testTheLargestText() throws {
    try drawPredictClear(
      in: launched(
        "-UIPreferredContentSizeCategoryName", "UICTContentSizeCategoryAccessibilityXXXL"))
  }

  func testTheModelScreen() throws {
    let app = launched()
    let pad = try pad(of: app)
    app.buttons["model"].tap()
    let done = app.buttons["Done"]
    XCTAssertTrue(done.waitForExistence(timeout: 5))
    try app.performAccessibilityAudit()
    done.tap()
    XCTAssertTrue(pad.waitForExistence(timeout: 5))
  }

  /// A line is read as a one and cleared, and what is on the screen meanwhile passes the accessibility audit.
  private func drawPredictClear(in app: XCUIApplication) throws {
    let pad = try pad(of: app)
    let predict = app.buttons["predict"]
    XCTAssertFalse(predict.isEnabled)
    pad.coordinate(withNormalizedOffset: CGVector(dx: 0.5, dy: 0.15))
      .press(
        forDuration: 0.05,
        thenDragTo: pad.coordinate(withNormalizedOffset: CGVector(dx: 0.5, dy: 0.85)))
    XCTAssertTrue(predict.isEnabled)
    predict.tap()
    let one = NSPredicate(format: "identifier == 'answer' AND label BEGINSWITH '1,'")
    XCTAssertTrue(app.staticTexts.matching(one).firstMatch.waitForExistence(timeout: 5))
    try app.performAccessibilityAudit()
    app.buttons["clear"].tap()
    XCTAssertFalse(predict.isEnabled)
  }

  private func launched(_ arguments: String...) -> XCUIApplication {
    continueAfterFailure = false
    let app = XCUIApplication()
    let english = ["-AppleLanguages", "(en)", "-AppleLocale", "en_US"]  // in which the tests look for texts
    app.launchArguments = english + arguments
    app.launch()
    return app
  }

  private func pad(of app: XCUIApplication) throws -> XCUIElement {
    let pad = app.descendants(matching: .any)["pad"]
    if !pad.waitForExistence(timeout: 10) {
      XCTAssertTrue(app.buttons["choose"].exists)
      throw XCTSkip("The model reads photographs")
    }
    return pad
  }
}
