import CoreVideo
import DigitKit
import Testing

@testable import Digits

/// The app's model on this device: the repository's, unless another was promoted before the build.
struct BundledModelTests {
  @Test func bothWaysReadAOne() async throws {
    guard let model = try await BundledModel().load(), model.interface.mode == .drawing else {
      return  // one of photographs was promoted
    }
    #expect(model.facts.drawingProblem == nil)
    let line = [PadPoint(x: 0.5, y: 0.1), PadPoint(x: 0.5, y: 0.9)]
    let image = Preprocessing.render([line], pad: 1).image
    let direct = Reading(confidences: try await model.reader.read(image, by: .direct), threshold: nil)
    let vision = Reading(confidences: try await model.reader.read(image, by: .vision), threshold: nil)
    #expect(direct.best.first?.label == "1")
    #expect(vision.best.first?.label == "1")
    let difference = try #require(vision.best.first).confidence - #require(direct.best.first).confidence
    #expect(abs(difference) < 0.01)
  }

  @Test func thePixelBufferHoldsTheImage() throws {
    let image = Preprocessing.render([[PadPoint(x: 0.2, y: 0.2), PadPoint(x: 0.7, y: 0.9)]], pad: 1).image
    let buffer = try image.pixelBuffer()
    #expect(CVPixelBufferGetWidth(buffer) == image.width)
    CVPixelBufferLockBaseAddress(buffer, .readOnly)
    defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
    let base = try #require(CVPixelBufferGetBaseAddress(buffer))
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for row in 0..<image.height {
      for column in 0..<image.width {
        #expect(
          base.load(fromByteOffset: row * stride + column, as: UInt8.self) == image.pixels[row * image.width + column])
      }
    }
  }

  @Test func aColoredBufferComesBack() throws {
    let pixels = (0..<5 * 3 * 3).map { UInt8($0 * 5) }
    let image = PixelImage(width: 5, height: 3, channels: 3, pixels: pixels)
    #expect(PixelImage(try image.pixelBuffer()) == image)
  }

  @Test func everyStateHasAText() {
    let problems: [any Error] = [
      ModelProblem.inputs(2), ModelProblem.notAnImage("image"), ModelProblem.pixelFormat("image"),
      ModelProblem.noProbabilities, ModelProblem.labels, ModelProblem.noPreprocessing,
      ModelProblem.preprocessing("0"), ModelProblem.fit("zoom"), ModelProblem.background("sky"),
      ModelProblem.threshold("high"),
      ReadingError.noPicture, ReadingError.noProbabilities, ReadingError.noPixelBuffer(code: -6661),
    ]
    let texts = (problems + CameraProblem.allCases).map(explain)
    #expect(Set(texts).count == texts.count)
  }
}
