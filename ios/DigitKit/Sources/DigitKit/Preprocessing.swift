/// From strokes on a square pad to the image that the model reads.
///
/// The same pixels as `experiments/evaluation/strokes.py`, which says why: doubles, and only `+ - * /` and the square root, which
/// IEEE 754 rounds in one way, in the same order. The golden drawings hold both.
public enum Preprocessing {
  /// Of these rules; the model's metadata names the version that it was made for.
  public static let version = 1
  /// Pixels. The pixel (row, column) has its centre at y = row, x = column.
  public static let side = 28
  /// Pixels: the longer side of the ink, pen included.
  public static let box = 20.0
  /// Pixel index of the centre of mass.
  public static let center = 14.0
  /// Pixels: the width of a line; its edge fades over one more pixel.
  public static let pen = 2.2
  /// Pixels: points nearer than this to the last one kept are left out.
  public static let spacing = 0.5
  /// Any unit: the sides of a pad whose scale and middle a double can hold.
  public static let pads = 1e-300...1e300
  /// Of the pad: a smaller drawing is not blown up to the box, so a dot stays a dot.
  public static let smallest = 0.05

  /// Pixels: no ink from this distance on.
  private static let reach = pen / 2 + 0.5

  /// Draws strokes white on black. Points outside the pad are moved to its edge; points that are not finite are left
  /// out; nothing drawn is a black image.
  ///
  /// - Parameters:
  ///   - strokes: lines of points, from (0, 0) top left to (pad, pad).
  ///   - pad: the side of the pad, in the unit of the points; one of `pads`.
  public static func render(_ strokes: [[PadPoint]], pad: Double) -> DigitImage {
    precondition(pads.contains(pad), "The side of the pad must be a number from 1e-300 to 1e+300.")
    let lines = strokes.map { onPad($0, pad: pad) }.filter { !$0.isEmpty }
    let points = lines.joined()
    guard let first = points.first else {
      return DigitImage()
    }
    var low = first
    var high = first
    for point in points {
      low = PadPoint(x: min(low.x, point.x), y: min(low.y, point.y))
      high = PadPoint(x: max(high.x, point.x), y: max(high.y, point.y))
    }
    let scale = (box - pen) / max(max(high.x - low.x, high.y - low.y), pad * smallest)
    let middle = PadPoint(x: (low.x + high.x) / 2, y: (low.y + high.y) / 2)
    let segments = lines.flatMap { line in
      pairs(thinned(line.map { PadPoint(x: ($0.x - middle.x) * scale, y: ($0.y - middle.y) * scale) }))
    }
    let mass = paint(segments, offset: PadPoint(x: center, y: center)).centerOfMass
    return paint(
      segments, offset: PadPoint(x: center + (center - mass.x), y: center + (center - mass.y)))
  }

  private static func onPad(_ stroke: [PadPoint], pad: Double) -> [PadPoint] {
    stroke.filter { $0.x.isFinite && $0.y.isFinite }.map {
      PadPoint(x: min(max($0.x, 0), pad), y: min(max($0.y, 0), pad))
    }
  }

  private static func thinned(_ line: [PadPoint]) -> [PadPoint] {
    var kept = [line[0]]
    for index in line.indices.dropFirst() {
      let awayX = line[index].x - kept[kept.count - 1].x
      let awayY = line[index].y - kept[kept.count - 1].y
      if index == line.count - 1 || awayX * awayX + awayY * awayY >= spacing * spacing {
        kept.append(line[index])
      }
    }
    return kept
  }

  /// A line's points in pairs; a single point with itself.
  private static func pairs(_ line: [PadPoint]) -> [(PadPoint, PadPoint)] {
    line.count > 1 ? Array(zip(line, line.dropFirst())) : [(line[0], line[0])]
  }

  /// Draws segments given in pixels: ink falls with the distance of a pixel's centre from the nearest of them.
  private static func paint(_ segments: [(PadPoint, PadPoint)], offset: PadPoint) -> DigitImage {
    var nearest = [Double](repeating: .infinity, count: side * side)  // squared distance
    for (start, end) in segments {
      let fromX = start.x + offset.x
      let fromY = start.y + offset.y
      let toX = end.x + offset.x
      let toY = end.y + offset.y
      let alongX = toX - fromX
      let alongY = toY - fromY
      let length = alongX * alongX + alongY * alongY  // squared
      for row in near(fromY, toY) {
        for column in near(fromX, toX) {
          let awayX = Double(column) - fromX
          let awayY = Double(row) - fromY
          let along = (awayX * alongX + awayY * alongY) / (length > 0 ? length : 1)
          let share = min(max(along, 0), 1)  // where on the segment the nearest point lies
          let offX = awayX - share * alongX
          let offY = awayY - share * alongY
          let index = row * side + column
          nearest[index] = min(nearest[index], offX * offX + offY * offY)
        }
      }
    }
    return DigitImage(
      pixels: nearest.map { squared in
        let ink = min(max(reach - squared.squareRoot(), 0), 1)
        return UInt8((ink * 255 + 0.5).rounded(.down))
      })
  }

  /// The rows or columns that a segment with these ends can reach.
  private static func near(_ one: Double, _ other: Double) -> Range<Int> {
    let low = max(Int((min(one, other) - reach).rounded(.up)), 0)
    let high = min(Int((max(one, other) + reach).rounded(.down)), side - 1)
    return low..<max(high + 1, low)
  }
}
