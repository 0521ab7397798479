import DigitKit
import XCTest

final class ReadingTests: XCTestCase {
  func testTheThreeBestInOrder() {
    let reading = Reading(confidences: ["7": 0.9, "1": 0.05, "9": 0.03, "4": 0.02])
    XCTAssertEqual(reading.best.map(\.label), ["7", "1", "9"])
    XCTAssertEqual(reading.answer, Guess(label: "7", confidence: 0.9))
    XCTAssertEqual(reading.spoken, "7, 90 percent.")
  }

  func testEqualsAreInTheOrderOfTheirLabels() {
    let reading = Reading(confidences: ["9": 0.25, "4": 0.25, "7": 0.25, "1": 0.25])
    XCTAssertEqual(reading.best.map(\.label), ["1", "4", "7"])
  }

  func testBelowTheThresholdItIsNotSure() {
    let reading = Reading(confidences: ["4": 0.59, "9": 0.4, "7": 0.01])
    XCTAssertNil(reading.answer)
    XCTAssertEqual(reading.spoken, "Not sure. Perhaps 4, 59 percent, or 9 or 7.")
    XCTAssertNotNil(Reading(confidences: ["4": Reading.threshold]).answer)
  }

  func testNothingAndNotANumber() {
    XCTAssertNil(Reading(confidences: [:]).answer)
    XCTAssertEqual(Reading(confidences: [:]).spoken, "No reading.")
    let reading = Reading(confidences: ["1": .nan, "2": 0.7])
    XCTAssertEqual(reading.best, [Guess(label: "2", confidence: 0.7), Guess(label: "1", confidence: 0)])
  }
}
