/// How a stored picture is turned to be upright; the numbers are EXIF's.
public enum Orientation: Int, Sendable, Hashable, CaseIterable {
  case up = 1
  case upMirrored = 2
  case down = 3
  case downMirrored = 4
  case leftMirrored = 5
  case right = 6
  case rightMirrored = 7
  case left = 8

  /// Whether width and height change places.
  var isOnItsSide: Bool {
    rawValue >= 5
  }
}

/// A picture as it is stored, and what must be known to show it.
public struct Photograph: Sendable, Hashable {
  public enum Space: Sendable, Hashable {
    case sRGB
    case displayP3
  }

  public let image: PixelImage
  public let orientation: Orientation
  public let colorSpace: Space

  public init(image: PixelImage, orientation: Orientation = .up, colorSpace: Space = .sRGB) {
    self.image = image
    self.orientation = orientation
    self.colorSpace = colorSpace
  }

  /// The picture as the trainer reads its own: turned upright, in sRGB, on a background, gray where the model is, and brought to
  /// the model's size; every pixel as Pillow has it.
  public func fitted(to size: ImageSize, colors: ModelInterface.Colors, fit: Fit, background: Background = .white)
    -> PixelImage
  {
    var picture = image.turned(orientation)
    if colorSpace == .displayP3, picture.channels > 1 {
      picture = picture.convertedFromDisplayP3()
    }
    if picture.channels == 4 {
      picture = picture.over(background)
    }
    switch colors {
    case .gray: picture = picture.gray()
    case .rgb: picture = picture.rgb()
    }
    return picture.fitted(to: size, fit: fit, background: background)
  }
}

extension PixelImage {
  /// Brought to a size as Pillow's `ImageOps.fit`, `ImageOps.pad` and `Image.resize` do with the bilinear filter.
  func fitted(to size: ImageSize, fit: Fit, background: Background) -> PixelImage {
    switch fit {
    case .squash: resized(to: size)
    case .crop: resized(to: size, box: centre(in: size))
    case .pad: padded(to: size, with: background)
    }
  }

  /// The largest part around the centre that has the proportions of a size.
  private func centre(in size: ImageSize) -> Box {
    let wanted = Double(size.width) / Double(size.height)
    let (width, height) = (Double(width), Double(height))
    var (cutWidth, cutHeight) = (width, height)
    if width / height > wanted {
      cutWidth = wanted * height
    } else if width / height < wanted {
      cutHeight = width / wanted
    }
    let left = (width - cutWidth) * 0.5
    let top = (height - cutHeight) * 0.5
    return Box(left: Float(left), top: Float(top), right: Float(left + cutWidth), bottom: Float(top + cutHeight))
  }

  /// As large as it fits in a size, a background beside it.
  private func padded(to size: ImageSize, with background: Background) -> PixelImage {
    let found = Double(width) / Double(height)
    let wanted = Double(size.width) / Double(size.height)
    var inner = size
    if found > wanted {
      let height = (Double(height) / Double(width) * Double(size.width)).rounded(.toNearestOrEven)
      inner = ImageSize(width: size.width, height: Int(height))
    } else if found < wanted {
      let width = (Double(width) / Double(height) * Double(size.height)).rounded(.toNearestOrEven)
      inner = ImageSize(width: Int(width), height: size.height)
    }
    let pixel = background.components(channels: channels)
    var result = (0..<size.width * size.height).flatMap { _ in pixel }
    if inner.width > 0, inner.height > 0 {
      let picture = resized(to: inner)
      let left = Int((Double(size.width - inner.width) * 0.5).rounded(.toNearestOrEven))
      let top = Int((Double(size.height - inner.height) * 0.5).rounded(.toNearestOrEven))
      let length = inner.width * channels
      for row in 0..<inner.height {
        let start = ((top + row) * size.width + left) * channels
        result.replaceSubrange(start..<start + length, with: picture.pixels[row * length..<(row + 1) * length])
      }
    }
    return PixelImage(width: size.width, height: size.height, channels: channels, pixels: result)
  }

  func turned(_ orientation: Orientation) -> PixelImage {
    guard orientation != .up else {
      return self
    }
    let (newWidth, newHeight) = orientation.isOnItsSide ? (height, width) : (width, height)
    var result = [UInt8](repeating: 0, count: pixels.count)
    pixels.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        for row in 0..<newHeight {
          for column in 0..<newWidth {
            let (x, y) =
              switch orientation {
              case .up: (column, row)
              case .upMirrored: (width - 1 - column, row)
              case .down: (width - 1 - column, height - 1 - row)
              case .downMirrored: (column, height - 1 - row)
              case .leftMirrored: (row, column)
              case .right: (row, height - 1 - column)
              case .rightMirrored: (width - 1 - row, height - 1 - column)
              case .left: (width - 1 - row, column)
              }
            for channel in 0..<channels {
              target[(row * newWidth + column) * channels + channel] = source[(y * width + x) * channels + channel]
            }
          }
        }
      }
    }
    return PixelImage(width: newWidth, height: newHeight, channels: channels, pixels: result)
  }

  /// Over a background, as Pillow's `Image.alpha_composite`.
  func over(_ background: Background) -> PixelImage {
    let beneath = background.components(channels: 3).map(Int.init)
    return mapped(to: 3) { source, target in
      let alpha = Int(source[3])
      for channel in 0..<3 {
        let sum = (Int(source[channel]) * alpha + beneath[channel] * (255 - alpha) + 128) << 7
        target[channel] = UInt8((((sum >> 8) + sum) >> 8) >> 7)
      }
    }
  }

  /// Luminance, as Pillow's mode `L`.
  func gray() -> PixelImage {
    channels == 1
      ? self
      : mapped(to: 1) { source, target in
        let sum = Int(source[0]) * 19595 + Int(source[1]) * 38470 + Int(source[2]) * 7471
        target[0] = UInt8((sum + 0x8000) >> 16)
      }
  }

  func rgb() -> PixelImage {
    channels == 3
      ? self
      : mapped(to: 3) { source, target in
        for channel in 0..<3 {
          target[channel] = source[0]
        }
      }
  }

  /// Each pixel made into one of another number of components.
  func mapped(
    to count: Int, _ transform: (UnsafePointer<UInt8>, UnsafeMutablePointer<UInt8>) -> Void
  ) -> PixelImage {
    var result = [UInt8](repeating: 0, count: width * height * count)
    pixels.withUnsafeBufferPointer { source in
      result.withUnsafeMutableBufferPointer { target in
        guard let from = source.baseAddress, let into = target.baseAddress else {
          return
        }
        for pixel in 0..<width * height {
          transform(from + pixel * channels, into + pixel * count)
        }
      }
    }
    return PixelImage(width: width, height: height, channels: count, pixels: result)
  }
}
