import Foundation

/// The device that the app runs on.
public struct ThisDevice: DeviceDescription {
  public init() {}

  public var device: String {
    if let simulated = ProcessInfo.processInfo.environment["SIMULATOR_MODEL_IDENTIFIER"] {
      return simulated
    }
    var name = utsname()
    uname(&name)
    return withUnsafeBytes(of: name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  public var system: String {
    #if os(iOS)
      let name = "iOS"
    #elseif os(macOS)
      let name = "macOS"
    #else
      let name = "Linux"
    #endif
    let version = ProcessInfo.processInfo.operatingSystemVersion
    let patch = version.patchVersion > 0 ? ".\(version.patchVersion)" : ""
    return "\(name) \(version.majorVersion).\(version.minorVersion)\(patch)"
  }

  public var isSimulator: Bool {
    #if targetEnvironment(simulator)
      true
    #else
      false
    #endif
  }

  public var now: String {
    Date.now.formatted(.iso8601)
  }
}
