import DigitKit
import XCTest

@testable import Digits

/// Taps Clear while the model is still reading.
@MainActor
private final class Finger {
  weak var session: Session?

  func clear() {
    session?.clear()
  }
}

/// Answers with the share of ink, or fails.
private struct InkReader: DigitReader {
  var failure: ReadingError?
  var finger: Finger?

  func read(_ image: DigitImage) async throws -> Reading {
    await finger?.clear()
    if let failure {
      throw failure
    }
    return Reading(confidences: image == DigitImage() ? [:] : ["1": 0.9, "7": 0.1])
  }
}

private struct Loader: ModelLoader {
  var metadata: [String: String]? = ["run_id": "3f", "preprocessing_version": "1"]
  var failure: ReadingError?
  var finger: Finger?

  func load() async throws -> Readers? {
    let reader = InkReader(failure: failure, finger: finger)
    return metadata.map {
      Readers(facts: ModelFacts(metadata: $0), vision: reader, direct: reader)
    }
  }
}

@MainActor
final class SessionTests: XCTestCase {
  func testWithoutAModel() async {
    let session = Session(loader: Loader(metadata: nil))
    await session.load()
    XCTAssertEqual(session.phase, .missing)
  }

  func testAnotherPreprocessingIsRefused() async {
    let session = Session(loader: Loader(metadata: ["preprocessing_version": "0"]))
    await session.load()
    guard case .refused(let reason) = session.phase else {
      return XCTFail("\(session.phase)")
    }
    XCTAssertTrue(reason.contains("version 0"))
  }

  func testADrawingIsRead() async {
    let session = Session(loader: Loader())
    await session.load()
    let nothing = await session.predict()
    XCTAssertNil(nothing)
    session.begin(at: PadPoint(x: 0.5, y: 0.1))
    session.move(to: PadPoint(x: 0.5, y: 0.9))
    let reading = await session.predict()
    XCTAssertEqual(reading?.answer?.label, "1")
    XCTAssertNotEqual(session.image, DigitImage())
    session.clear()
    XCTAssertNil(session.reading)
    XCTAssertEqual(session.image, DigitImage())
  }

  func testAFailureIsTold() async {
    let session = Session(loader: Loader(failure: .noProbabilities))
    await session.load()
    session.begin(at: PadPoint(x: 0.5, y: 0.5))
    let reading = await session.predict()
    XCTAssertNil(reading)
    XCTAssertNotNil(session.failure)
  }

  func testAFailureAfterClearIsNotTold() async {
    let finger = Finger()
    let session = Session(loader: Loader(failure: .noProbabilities, finger: finger))
    finger.session = session
    await session.load()
    session.begin(at: PadPoint(x: 0.5, y: 0.5))
    let reading = await session.predict()
    XCTAssertNil(reading)
    XCTAssertTrue(session.drawing.isEmpty)
    XCTAssertNil(session.failure)
  }
}
