import DigitKit
import Foundation
import Testing

/// Photographs of every kind, and what Pillow makes of each: `python -m tests.support.pictures`.
struct GoldenPicturesTests {
  private struct File: Decodable {
    let pictures: [Golden]
  }

  private struct Golden: Decodable {
    let name: String
    let width: Int
    let height: Int
    let channels: Int
    let seed: Int
    let orientation: Int
    let space: String
    let target: [Int]
    let colors: String
    let fit: String
    let background: String
    let pixels: Data

    func photograph() throws -> Photograph {
      Photograph(
        image: PixelImage(width: width, height: height, channels: channels, pixels: stored),
        orientation: try #require(Orientation(rawValue: orientation)),
        colorSpace: space == "displayP3" ? .displayP3 : .sRGB
      )
    }

    /// Slopes, noise and checks, by the seed.
    private var stored: [UInt8] {
      let (width, height, channels, kind) = (width, height, channels, seed % 4)
      let start = UInt32(truncatingIfNeeded: seed) &* 2_246_822_519
      return [UInt8](unsafeUninitializedCapacity: width * height * channels) { bytes, count in
        var index = 0
        for y in 0..<height {
          for x in 0..<width {
            for c in 0..<channels {
              bytes[index] =
                switch kind {
                case 0: UInt8((slope(x, y, c) * 3 + noise(index, start)) / 4)
                case 1: UInt8(noise(index, start))
                case 2: UInt8((x / 3 + y / 2) % 2 * 255)
                default: UInt8(slope(x, y, c))
                }
              index += 1
            }
          }
        }
        count = index
      }
    }

    private func noise(_ index: Int, _ start: UInt32) -> Int {
      var noise = UInt32(truncatingIfNeeded: index) &* 2_654_435_761 &+ start
      noise ^= noise >> 15
      noise = noise &* 2_246_822_519
      return Int((noise ^ (noise >> 13)) & 255)
    }

    private func slope(_ x: Int, _ y: Int, _ c: Int) -> Int {
      let sum = x * 255 * (c + 1) / max(width - 1, 1) + y * 255 * (seed % 3 + 1) / max(height - 1, 1)
      return 255 - abs(sum % 511 - 255)
    }
  }

  @Test func everyPixel() throws {
    let url = try #require(Bundle.module.url(forResource: "golden-pictures", withExtension: "json"))
    let file = try JSONDecoder().decode(File.self, from: Data(contentsOf: url))
    #expect(file.pictures.count >= 200)
    for golden in file.pictures {
      let image = try golden.photograph().fitted(
        to: ImageSize(width: golden.target[0], height: golden.target[1]),
        colors: golden.colors == "gray" ? .gray : .rgb, fit: try #require(Fit(rawValue: golden.fit)),
        background: try #require(Background(golden.background)))
      let pairs = zip(image.pixels, golden.pixels)
      let different = pairs.filter { $0 != $1 }.count
      let most = pairs.map { abs(Int($0) - Int($1)) }.max() ?? 0
      #expect(image.pixels.count == golden.pixels.count, "\(golden.name)")
      #expect(different == 0, "\(golden.name): \(different) pixels differ, by up to \(most)")
    }
  }
}
