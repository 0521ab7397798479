/// A place on the pad: x to the right, y down, in the pad's unit.
public struct PadPoint: Sendable, Hashable {
  public var x: Double
  public var y: Double

  public init(x: Double, y: Double) {
    self.x = x
    self.y = y
  }
}

/// What a finger left on a square pad, stroke by stroke.
public struct Drawing: Sendable, Hashable {
  public private(set) var strokes: [[PadPoint]] = []

  public init() {}

  /// True where there is nothing to read.
  public var isEmpty: Bool {
    strokes.allSatisfy(\.isEmpty)
  }

  /// Starts a stroke; a stroke of one point is a dot.
  public mutating func begin(at point: PadPoint) {
    strokes.append([point])
  }

  /// Adds a point to the stroke under the finger, and begins one where there is none.
  public mutating func move(to point: PadPoint) {
    guard let last = strokes.indices.last else {
      return begin(at: point)
    }
    strokes[last].append(point)
  }

  /// Takes back the last stroke.
  public mutating func undo() {
    _ = strokes.popLast()
  }

  public mutating func clear() {
    strokes.removeAll()
  }
}
