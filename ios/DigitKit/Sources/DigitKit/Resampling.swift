/// Pillow's antialiased bilinear filter, which the trainer resizes with, in the same integers.
///
/// After `Resample.c` of Pillow 13: weights in doubles, rounded to 22 bits behind the point; the rows first, rounded to 8
/// bits, then the columns, or the other way round where that is less work. Apple's filters are others: none is used.
extension PixelImage {
  /// Part of an image in pixels, in the precision that Pillow cuts in.
  struct Box: Hashable {
    var left: Float
    var top: Float
    var right: Float
    var bottom: Float
  }

  /// Bits behind the point of a weight.
  private static let precision = 22

  /// The part of the image in the box, or all of it, in another size.
  func resized(to size: ImageSize, box: Box? = nil) -> PixelImage {
    let box = box ?? Box(left: 0, top: 0, right: Float(width), bottom: Float(height))
    let rows = Self.weights(from: box.left, to: box.right, of: width, count: size.width)
    let columns = Self.weights(from: box.top, to: box.bottom, of: height, count: size.height)
    let columnsFirst = size.height < height && height - size.height > 2 * (width - size.width)
    return columnsFirst
      ? stretched(columns: columns).stretched(rows: rows) : stretched(rows: rows).stretched(columns: columns)
  }

  /// What a pixel of the result is made of: neighbours from `first` on, and the weight of each.
  private struct Weights {
    let first: Int
    let values: [Int32]
  }

  private static func weights(from low: Float, to high: Float, of length: Int, count: Int) -> [Weights] {
    let scale = Double(high - low) / Double(count)
    let support = max(scale, 1)
    return (0..<count).map { index in
      let center: Double = Double(low) + (Double(index) + 0.5) * scale
      let first = max(Int(center - support + 0.5), 0)
      let end = min(Int(center + support + 0.5), length)
      var shares: [Double] = []
      for place in first..<end {
        let distance: Double = (Double(place) - center + 0.5) * (1 / support)
        shares.append(max(1 - abs(distance), 0))
      }
      let total: Double = shares.reduce(0, +)
      let values = shares.map { (share: Double) -> Int32 in
        let weight: Double = total == 0 ? share : share / total
        return Int32(0.5 + weight * Double(1 << precision))
      }
      return Weights(first: first, values: values)
    }
  }

  private func stretched(rows weights: [Weights]) -> PixelImage {
    var result = [UInt8](repeating: 0, count: weights.count * height * channels)
    pixels.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        for (column, weight) in weights.enumerated() {
          weight.values.withUnsafeBufferPointer { values in
            for row in 0..<height {
              for channel in 0..<channels {
                var sum: Int32 = 1 << (Self.precision - 1)
                var place = (row * width + weight.first) * channels + channel
                for value in values {
                  sum &+= Int32(source[place]) &* value
                  place += channels
                }
                target[(row * weights.count + column) * channels + channel] = Self.byte(sum)
              }
            }
          }
        }
      }
    }
    return PixelImage(width: weights.count, height: height, channels: channels, pixels: result)
  }

  private func stretched(columns weights: [Weights]) -> PixelImage {
    let length = width * channels
    var result = [UInt8](repeating: 0, count: weights.count * length)
    pixels.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        for (row, weight) in weights.enumerated() {
          weight.values.withUnsafeBufferPointer { values in
            for column in 0..<length {
              var sum: Int32 = 1 << (Self.precision - 1)
              var place = weight.first * length + column
              for value in values {
                sum &+= Int32(source[place]) &* value
                place += length
              }
              target[row * length + column] = Self.byte(sum)
            }
          }
        }
      }
    }
    return PixelImage(width: width, height: weights.count, channels: channels, pixels: result)
  }

  private static func byte(_ sum: Int32) -> UInt8 {
    UInt8(min(max(sum >> precision, 0), 255))
  }
}
