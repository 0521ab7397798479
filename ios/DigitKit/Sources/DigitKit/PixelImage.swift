/// An image of 8 bits a component, row by row from the top left.
public struct PixelImage: Sendable, Hashable {
  public let width: Int
  public let height: Int
  /// Components of a pixel: 1 is gray, 3 red, green and blue, 4 these and an alpha that they are not multiplied by.
  public let channels: Int
  public let pixels: [UInt8]

  public init(width: Int, height: Int, channels: Int, pixels: [UInt8]) {
    precondition(width > 0 && height > 0 && [1, 3, 4].contains(channels), "An image has a size and components.")
    precondition(pixels.count == width * height * channels, "The pixels must fill the image.")
    self.width = width
    self.height = height
    self.channels = channels
    self.pixels = pixels
  }
}
