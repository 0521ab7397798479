import CoreVideo
import DigitKit
import XCTest

@testable import Digits

/// The promoted model on this device, where one was promoted before the build.
final class BundledModelTests: XCTestCase {
  func testBothWaysReadAOne() async throws {
    guard let readers = try await BundledModel().load() else {
      throw XCTSkip("No model: run python -m conversion.promote")
    }
    XCTAssertNil(readers.facts.mismatch)
    let line = [PadPoint(x: 0.5, y: 0.1), PadPoint(x: 0.5, y: 0.9)]
    let image = Preprocessing.render([line], pad: 1)
    let direct = try await readers.direct.read(image)
    let vision = try await readers.vision.read(image)
    XCTAssertEqual(direct.best.first?.label, "1")
    XCTAssertEqual(vision.best.first?.label, "1")
    XCTAssertEqual(
      try XCTUnwrap(vision.best.first).confidence, try XCTUnwrap(direct.best.first).confidence,
      accuracy: 0.01)
  }

  func testThePixelBufferHoldsTheImage() throws {
    let image = Preprocessing.render([[PadPoint(x: 0.2, y: 0.2), PadPoint(x: 0.7, y: 0.9)]], pad: 1)
    let buffer = try image.pixelBuffer()
    XCTAssertEqual(CVPixelBufferGetWidth(buffer), DigitImage.side)
    CVPixelBufferLockBaseAddress(buffer, .readOnly)
    defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
    let base = try XCTUnwrap(CVPixelBufferGetBaseAddress(buffer))
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for row in 0..<DigitImage.side {
      for column in 0..<DigitImage.side {
        XCTAssertEqual(
          base.load(fromByteOffset: row * stride + column, as: UInt8.self),
          image.pixels[row * DigitImage.side + column])
      }
    }
  }
}
