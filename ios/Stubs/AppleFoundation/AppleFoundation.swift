// What Apple's Foundation has and Linux's lacks, as far as the app uses it. Nothing here ever runs.
//
// The type check imports this module into each file. So it would not see that a file forgot `import Foundation`.
import Foundation

extension String {
  // https://developer.apple.com/documentation/swift/string/localizationvalue
  public struct LocalizationValue: ExpressibleByStringInterpolation {
    public init(stringLiteral value: String) { fatalError() }
    // https://developer.apple.com/documentation/swift/string/localizationvalue/stringinterpolation
    public init(stringInterpolation: StringInterpolation) { fatalError() }
    public struct StringInterpolation: StringInterpolationProtocol {
      public init(literalCapacity: Int, interpolationCount: Int) { fatalError() }
      public mutating func appendLiteral(_ literal: String) { fatalError() }
      public mutating func appendInterpolation(_ value: String) { fatalError() }
      public mutating func appendInterpolation(_ value: Int) { fatalError() }
    }
  }

  // https://developer.apple.com/documentation/swift/string/init(localized:table:bundle:locale:comment:)
  public init(
    localized keyAndValue: LocalizationValue, table: String? = nil, bundle: Bundle? = nil, locale: Locale = .current,
    comment: StaticString? = nil
  ) { fatalError() }
}

// https://developer.apple.com/documentation/dispatch/dispatchserialqueue, of Dispatch, which Foundation brings
public final class DispatchSerialQueue: SerialExecutor {
  public init(label: String) { fatalError() }
  public func enqueue(_ job: consuming ExecutorJob) { fatalError() }
  public func asUnownedSerialExecutor() -> UnownedSerialExecutor { fatalError() }
}

extension NSPredicate {
  // https://developer.apple.com/documentation/foundation/nspredicate/init(format:_:)
  public convenience init(format predicateFormat: String, _ args: any CVarArg...) { fatalError() }
}

// https://developer.apple.com/documentation/corefoundation/cfstring
public final class CFString: Equatable {
  public static func == (left: CFString, right: CFString) -> Bool { fatalError() }
}
