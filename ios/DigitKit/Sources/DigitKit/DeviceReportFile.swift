import Foundation

extension DeviceReport {
  /// The report as JSON, keys in order.
  public var json: Data {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      return try encoder.encode(self)
    }
  }

  /// Writes the report into a folder, under a name that says what it is.
  public func write(into folder: URL) throws -> URL {
    let run = metadata["run_id"].map { "-\($0.prefix(8))" } ?? ""
    let url = folder.appendingPathComponent("device-report\(run).json")
    try json.write(to: url)
    return url
  }
}
