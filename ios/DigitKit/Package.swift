// swift-tools-version: 6.0
import PackageDescription

let package = Package(
  name: "DigitKit",
  platforms: [.iOS(.v17), .macOS(.v14)],
  products: [.library(name: "DigitKit", targets: ["DigitKit"])],
  targets: [
    .target(name: "DigitKit"),
    .testTarget(
      name: "DigitKitTests",
      dependencies: ["DigitKit"],
      resources: [
        .process("golden-drawings.json"), .process("golden-pictures.json"), .process("golden-device-report.json"),
      ]
    ),
  ]
)
