import Foundation

/// Display P3, the colours of an iPhone's photographs, in sRGB as Little CMS has them, which Pillow converts with.
///
/// After `cmsopt.c` of Little CMS: the profile's curve to 14 bits behind the point, one matrix in the same, and sRGB's
/// inverse curve by a table of 16385 bytes.
private enum DisplayP3 {
  static let one = 16384
  /// The profile's parametric curve, in its 16 bits behind the point.
  static let linear = (0...255).map { index in
    let value = Double(Float(index) / 255)
    let (gamma, a, b) = (157_286.0 / 65536, 62_119.0 / 65536, 3417.0 / 65536)
    let (c, d) = (5072.0 / 65536, 2651.0 / 65536)
    let light = Float(value >= d ? pow(a * value + b, gamma) : c * value)
    return Int((Double(light) * Double(one) + 0.5).rounded(.down))
  }
  /// From linear Display P3 to linear sRGB.
  static let matrix = [[20069, -3686, 0], [-689, 17073, 0], [-322, -1288, 17994]]
  static let encoded = (0...one).map { index in
    let light = Double(index) / Double(one)
    let start = pow((0.04045 + 0.055) / 1.055, 2.4)
    let value = Float(light >= start ? pow(light, 1 / 2.4) * 1.055 - 0.055 : light * 12.92)
    let word = Int((Double(min(max(value, 0), 1)) * 65535 + 0.5).rounded(.down))
    return UInt8((word * 65281 + 8_388_608) >> 24)
  }
}

extension PixelImage {
  /// Alpha stays as it is.
  func convertedFromDisplayP3() -> PixelImage {
    let (linear, encoded, matrix) = (DisplayP3.linear, DisplayP3.encoded, DisplayP3.matrix)
    return mapped(to: channels) { source, target in
      let (red, green, blue) = (linear[Int(source[0])], linear[Int(source[1])], linear[Int(source[2])])
      for channel in 0..<3 {
        let row = matrix[channel]
        let sum = (row[0] * red + row[1] * green + row[2] * blue + 0x2000) >> 14
        target[channel] = encoded[min(max(sum, 0), DisplayP3.one)]
      }
      if channels == 4 {
        target[3] = source[3]
      }
    }
  }
}
