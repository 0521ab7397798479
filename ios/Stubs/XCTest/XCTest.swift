// The part of XCTest that the app's tests use, with Apple's signatures. Nothing here ever runs.
@_exported import Foundation

// https://developer.apple.com/documentation/corefoundation/cgvector
public struct CGVector: Equatable, Sendable {
  public var dx: CGFloat
  public var dy: CGFloat

  public init(dx: CGFloat, dy: CGFloat) {
    self.dx = dx
    self.dy = dy
  }
}

// https://developer.apple.com/documentation/xctest/xctestcase
open class XCTestCase {
  public init() {}
  open var continueAfterFailure: Bool {
    get { fatalError() }
    set { fatalError() }
  }
  // https://developer.apple.com/documentation/xctest/xctestcase/addteardownblock(_:)-5zw6c
  @preconcurrency public func addTeardownBlock(
    _ block: @escaping @MainActor @Sendable () throws -> Void
  ) { fatalError() }
}

// https://developer.apple.com/documentation/xctest/xctskip-swift.struct
public struct XCTSkip: Error {
  public init(
    _ message: @autoclosure () -> String? = nil, file: StaticString = #filePath, line: UInt = #line
  ) {}
}

// https://developer.apple.com/documentation/xctest/equality-and-inequality-assertions
public func XCTAssertEqual<T: Equatable>(
  _ expression1: @autoclosure () throws -> T, _ expression2: @autoclosure () throws -> T,
  _ message: @autoclosure () -> String = "", file: StaticString = #filePath, line: UInt = #line
) { fatalError() }
public func XCTAssertEqual<T: FloatingPoint>(
  _ expression1: @autoclosure () throws -> T, _ expression2: @autoclosure () throws -> T,
  accuracy: T, _ message: @autoclosure () -> String = "", file: StaticString = #filePath,
  line: UInt = #line
) { fatalError() }
public func XCTAssertNotEqual<T: Equatable>(
  _ expression1: @autoclosure () throws -> T, _ expression2: @autoclosure () throws -> T,
  _ message: @autoclosure () -> String = "", file: StaticString = #filePath, line: UInt = #line
) { fatalError() }

// https://developer.apple.com/documentation/xctest/boolean-assertions
public func XCTAssertTrue(
  _ expression: @autoclosure () throws -> Bool, _ message: @autoclosure () -> String = "",
  file: StaticString = #filePath, line: UInt = #line
) { fatalError() }
public func XCTAssertFalse(
  _ expression: @autoclosure () throws -> Bool, _ message: @autoclosure () -> String = "",
  file: StaticString = #filePath, line: UInt = #line
) { fatalError() }

// https://developer.apple.com/documentation/xctest/nil-and-non-nil-assertions
public func XCTAssertNil(
  _ expression: @autoclosure () throws -> Any?, _ message: @autoclosure () -> String = "",
  file: StaticString = #filePath, line: UInt = #line
) { fatalError() }
public func XCTAssertNotNil(
  _ expression: @autoclosure () throws -> Any?, _ message: @autoclosure () -> String = "",
  file: StaticString = #filePath, line: UInt = #line
) { fatalError() }
public func XCTUnwrap<T>(
  _ expression: @autoclosure () throws -> T?, _ message: @autoclosure () -> String = "",
  file: StaticString = #filePath, line: UInt = #line
) throws -> T { fatalError() }

// https://developer.apple.com/documentation/xctest/unconditional-test-failures
public func XCTFail(
  _ message: String = "", file: StaticString = #filePath, line: UInt = #line
) { fatalError() }

// https://developer.apple.com/documentation/xcuiautomation/xcuielement/elementtype
public enum XCUIElementType: UInt, Sendable {
  case any = 0
}

// https://developer.apple.com/documentation/xcuiautomation/xcuielementtypequeryprovider
@MainActor public protocol XCUIElementTypeQueryProvider {
  var buttons: XCUIElementQuery { get }
  var staticTexts: XCUIElementQuery { get }
}

// https://developer.apple.com/documentation/xcuiautomation/xcuielementquery
@MainActor open class XCUIElementQuery {
  open subscript(key: String) -> XCUIElement { fatalError() }
  // https://developer.apple.com/documentation/xcuiautomation/xcuielementquery/matching(_:)
  open func matching(_ predicate: NSPredicate) -> XCUIElementQuery { fatalError() }
  // https://developer.apple.com/documentation/xcuiautomation/xcuielementtypequeryprovider/firstmatch
  open var firstMatch: XCUIElement { fatalError() }
}

// https://developer.apple.com/documentation/xcuiautomation/xcuicoordinate
@MainActor open class XCUICoordinate {
  open func press(forDuration duration: TimeInterval, thenDragTo otherCoordinate: XCUICoordinate) {
    fatalError()
  }
}

// https://developer.apple.com/documentation/xcuiautomation/xcuielement
@MainActor open class XCUIElement: XCUIElementTypeQueryProvider {
  public typealias ElementType = XCUIElementType

  init() {}
  open var exists: Bool { fatalError() }
  open var isEnabled: Bool { fatalError() }
  open var label: String { fatalError() }
  open var buttons: XCUIElementQuery { fatalError() }
  open var staticTexts: XCUIElementQuery { fatalError() }
  open func waitForExistence(timeout: TimeInterval) -> Bool { fatalError() }
  open func descendants(matching type: ElementType) -> XCUIElementQuery { fatalError() }
  open func coordinate(withNormalizedOffset normalizedOffset: CGVector) -> XCUICoordinate {
    fatalError()
  }
  open func tap() { fatalError() }
}

// https://developer.apple.com/documentation/xcuiautomation/xcuiapplication
@MainActor open class XCUIApplication: XCUIElement {
  override public init() { fatalError() }
  // https://developer.apple.com/documentation/xcuiautomation/xcuiapplication/launcharguments
  open var launchArguments: [String] {
    get { fatalError() }
    set { fatalError() }
  }
  open func launch() { fatalError() }
  // https://developer.apple.com/documentation/xcuiautomation/xcuiapplication/performaccessibilityaudit(for:_:)
  public func performAccessibilityAudit(
    for auditTypes: XCUIAccessibilityAuditType = .all,
    _ issueHandler: ((XCUIAccessibilityAuditIssue) throws -> Bool)? = nil
  ) throws { fatalError() }
}

// https://developer.apple.com/documentation/xcuiautomation/xcuiaccessibilityaudittype
public struct XCUIAccessibilityAuditType: OptionSet, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }

  // https://developer.apple.com/documentation/xcuiautomation/xcuiaccessibilityaudittype/all
  public static var all: XCUIAccessibilityAuditType { fatalError() }
}

// https://developer.apple.com/documentation/xcuiautomation/xcuiaccessibilityauditissue
open class XCUIAccessibilityAuditIssue {}

// https://developer.apple.com/documentation/xcuiautomation/xcuidevice
@MainActor open class XCUIDevice {
  // https://developer.apple.com/documentation/xcuiautomation/xcuidevice/appearance-swift.enum
  public enum Appearance: Int, Sendable {
    case unspecified, light, dark
  }

  // https://developer.apple.com/documentation/xcuiautomation/xcuidevice/shared
  open class var shared: XCUIDevice { fatalError() }
  // https://developer.apple.com/documentation/xcuiautomation/xcuidevice/appearance-swift.property
  open var appearance: Appearance {
    get { fatalError() }
    set { fatalError() }
  }
}
