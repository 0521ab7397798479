import DigitKit
import Foundation
import Testing

/// The drawings that `experiments/evaluation/strokes.py` is held to as well.
struct GoldenDrawingsTests {
  private struct File: Decodable {
    let preprocessingVersion: Int
    let drawings: [Golden]
  }

  private struct Golden: Decodable {
    let name: String
    let pad: Double
    let strokes: [[[Double]]]
    let pixels: Data
  }

  @Test func everyPixel() throws {
    let url = try #require(Bundle.module.url(forResource: "golden-drawings", withExtension: "json"))
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let file = try decoder.decode(File.self, from: Data(contentsOf: url))
    #expect(file.preprocessingVersion == Preprocessing.version)
    #expect(file.drawings.count >= 60)
    for golden in file.drawings {
      let strokes = golden.strokes.map { $0.map { PadPoint(x: $0[0], y: $0[1]) } }
      let image = Preprocessing.render(strokes, pad: golden.pad)
      let different = zip(image.pixels, golden.pixels).filter { $0 != $1 }.count
      #expect(image.pixels.count == golden.pixels.count, "\(golden.name)")
      #expect(different == 0, "\(golden.name): \(different) pixels differ")
    }
  }

  @Test func pointsThatAreNotFiniteAreLeftOut() {
    let broken = [
      PadPoint(x: 10, y: 10), PadPoint(x: .nan, y: 50), PadPoint(x: 200, y: .infinity), PadPoint(x: 20, y: 200),
    ]
    #expect(
      Preprocessing.render([broken], pad: 300) == Preprocessing.render([[broken[0], broken[3]]], pad: 300))
    #expect(Preprocessing.render([[broken[1]]], pad: 300) == DigitImage())
  }
}
