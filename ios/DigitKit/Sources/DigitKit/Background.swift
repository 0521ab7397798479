/// The colour that lies beneath what is transparent and beside a photograph that is kept whole.
public struct Background: Sendable, Hashable {
  public let red: UInt8
  public let green: UInt8
  public let blue: UInt8

  public static let white = Background(red: 255, green: 255, blue: 255)
  public static let black = Background(red: 0, green: 0, blue: 0)

  public init(red: UInt8, green: UInt8, blue: UInt8) {
    self.red = red
    self.green = green
    self.blue = blue
  }

  /// From how a promotion writes it: white, black, or six hexadecimal digits; nil for anything else.
  public init?(_ text: String) {
    switch text {
    case "white": self = .white
    case "black": self = .black
    default:
      guard text.utf8.count == 6, let value = UInt32(text, radix: 16), !text.hasPrefix("+") else {
        return nil
      }
      let bytes = [16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
      self.init(red: bytes[0], green: bytes[1], blue: bytes[2])
    }
  }

  /// Its luminance as Pillow's mode `L` has it.
  var gray: UInt8 {
    UInt8((Int(red) * 19595 + Int(green) * 38470 + Int(blue) * 7471 + 0x8000) >> 16)
  }

  /// Its components in a picture of one channel or of three.
  func components(channels: Int) -> [UInt8] {
    channels == 1 ? [gray] : [red, green, blue]
  }
}
