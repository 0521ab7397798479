import Foundation

/// Display P3, the colours of an iPhone's photographs, in sRGB as Little CMS has them, which Pillow converts with.
///
/// After `cmsopt.c` of Little CMS: the curve to 14 bits behind the point, one matrix in the same, the inverse curve by a
/// table of 16385 entries.
private enum DisplayP3 {
  static let one = 16384
  /// sRGB's curve, which is Display P3's as well.
  static let linear = (0...255).map { index in
    let value = Double(index) / 255
    let light = value < 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
    return Int((light * Double(one) + 0.5).rounded(.down))
  }
  /// From linear Display P3 to linear sRGB.
  static let matrix = [[20069, -3685, 0], [-689, 17073, 0], [-322, -1288, 17994]]
  static let encoded = (0...one).map { index in
    let light = Double(index) / Double(one)
    let value = light < 0.0031308 ? light * 12.92 : 1.055 * pow(light, 1 / 2.4) - 0.055
    let word = Int((min(max(value, 0), 1) * 65535 + 0.5).rounded(.down))
    return UInt8((word * 65281 + 8_388_608) >> 24)
  }
}

extension PixelImage {
  /// Alpha stays as it is.
  func convertedFromDisplayP3() -> PixelImage {
    let (linear, encoded, matrix) = (DisplayP3.linear, DisplayP3.encoded, DisplayP3.matrix)
    return mapped(to: channels) { source, target in
      let light = (0..<3).map { linear[Int(source[$0])] }
      for channel in 0..<3 {
        let row = matrix[channel]
        let sum = (row[0] * light[0] + row[1] * light[1] + row[2] * light[2] + 0x2000) >> 14
        target[channel] = encoded[min(max(sum, 0), DisplayP3.one)]
      }
      if channels == 4 {
        target[3] = source[3]
      }
    }
  }
}
