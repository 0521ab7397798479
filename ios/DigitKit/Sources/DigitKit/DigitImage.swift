/// 28 by 28 pixels of one component, row by row; 255 is full ink on black.
public struct DigitImage: Sendable, Hashable {
  public static let side = Preprocessing.side

  public let pixels: [UInt8]

  /// A black image.
  public init() {
    self.init(pixels: [UInt8](repeating: 0, count: Self.side * Self.side))
  }

  init(pixels: [UInt8]) {
    precondition(pixels.count == Self.side * Self.side)
    self.pixels = pixels
  }

  /// The same for any model.
  public var image: PixelImage {
    PixelImage(width: Self.side, height: Self.side, channels: 1, pixels: pixels)
  }

  /// Mean column and row of the ink: exact sums, one division each. The image must hold ink.
  var centerOfMass: PadPoint {
    var total = 0
    var columns = 0
    var rows = 0
    for (index, ink) in pixels.enumerated() {
      total += Int(ink)
      columns += Int(ink) * (index % Self.side)
      rows += Int(ink) * (index / Self.side)
    }
    return PadPoint(x: Double(columns) / Double(total), y: Double(rows) / Double(total))
  }
}
