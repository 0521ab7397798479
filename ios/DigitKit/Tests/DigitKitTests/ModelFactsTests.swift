import DigitKit
import XCTest

final class ModelFactsTests: XCTestCase {
  private let metadata = [
    "run_id": "386bbbe67d4f4084ba1ad7800d80c65e", "architecture": "chollet", "dataset": "mnist5k",
    "val_accuracy": "0.9780", "preprocessing_version": "1",
    "com.github.apple.coremltools.conversion_date": "2026-11-23",
  ]

  func testAPromotedModel() {
    let facts = ModelFacts(metadata: metadata, license: "MIT", bytes: 380_278)
    XCTAssertNil(facts.mismatch)
    XCTAssertEqual(facts.runID, "386bbbe67d4f4084ba1ad7800d80c65e")
    XCTAssertEqual(facts.validationAccuracy, 0.978)
    XCTAssertEqual(facts.bytes, 380_278)
    XCTAssertEqual(facts.date, "2026-11-23")
  }

  func testAnotherPreprocessingIsRefused() throws {
    let other = ModelFacts(metadata: metadata.merging(["preprocessing_version": "2"]) { $1 })
    XCTAssertTrue(try XCTUnwrap(other.mismatch).contains("version 2"))
    let silent = ModelFacts(metadata: metadata.filter { $0.key != "preprocessing_version" })
    XCTAssertTrue(try XCTUnwrap(silent.mismatch).contains("does not say"))
  }
}
