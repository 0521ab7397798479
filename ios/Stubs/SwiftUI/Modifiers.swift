// Modifiers, styles and accessibility. See SwiftUI.swift.
import Foundation

/// Stands for the types of Apple's modified views.
public struct _Modified<Content: View>: PrimitiveView {}

// https://developer.apple.com/documentation/swiftui/contentmode
public enum ContentMode: Sendable {
  case fit, fill
}

// https://developer.apple.com/documentation/swiftui/buttonstyle
@MainActor @preconcurrency public protocol PrimitiveButtonStyle {}
public struct BorderedButtonStyle: PrimitiveButtonStyle {}
public struct BorderedProminentButtonStyle: PrimitiveButtonStyle {}
extension PrimitiveButtonStyle where Self == BorderedButtonStyle {
  @MainActor @preconcurrency public static var bordered: BorderedButtonStyle { fatalError() }
}
extension PrimitiveButtonStyle where Self == BorderedProminentButtonStyle {
  @MainActor @preconcurrency public static var borderedProminent: BorderedProminentButtonStyle {
    fatalError()
  }
}

// https://developer.apple.com/documentation/swiftui/pickerstyle
@MainActor @preconcurrency public protocol PickerStyle {}
public struct SegmentedPickerStyle: PickerStyle {}
extension PickerStyle where Self == SegmentedPickerStyle {
  @MainActor @preconcurrency public static var segmented: SegmentedPickerStyle { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/scrollbouncebehavior
public struct ScrollBounceBehavior: Sendable {
  public static var basedOnSize: ScrollBounceBehavior { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/textselectability
public protocol TextSelectability {}
public struct EnabledTextSelectability: TextSelectability {}
extension TextSelectability where Self == EnabledTextSelectability {
  public static var enabled: EnabledTextSelectability { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/accessibilitytraits
public struct AccessibilityTraits: SetAlgebra, Sendable {
  public typealias ArrayLiteralElement = AccessibilityTraits
  public typealias Element = AccessibilityTraits
  public init() {}
  public static let allowsDirectInteraction = AccessibilityTraits()
  public func contains(_ member: Self) -> Bool { fatalError() }
  public func union(_ other: Self) -> Self { fatalError() }
  public func intersection(_ other: Self) -> Self { fatalError() }
  public func symmetricDifference(_ other: Self) -> Self { fatalError() }
  public mutating func insert(_ newMember: Self) -> (inserted: Bool, memberAfterInsert: Self) {
    fatalError()
  }
  public mutating func remove(_ member: Self) -> Self? { fatalError() }
  public mutating func update(with newMember: Self) -> Self? { fatalError() }
  public mutating func formUnion(_ other: Self) { fatalError() }
  public mutating func formIntersection(_ other: Self) { fatalError() }
  public mutating func formSymmetricDifference(_ other: Self) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/accessibilitychildbehavior
public struct AccessibilityChildBehavior: Hashable, Sendable {
  public static let ignore = AccessibilityChildBehavior()
}

// https://developer.apple.com/documentation/accessibility/accessibilitynotification
public enum AccessibilityNotification {
  // https://developer.apple.com/documentation/accessibility/accessibilitynotification/announcement
  public struct Announcement: Sendable {
    public init(_ announcement: String) { fatalError() }
    public func post() { fatalError() }
  }
}

// https://developer.apple.com/documentation/swiftui/view-layout
extension View {
  public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> some View {
    _Modified<Self>()
  }
  public func frame(
    width: CGFloat? = nil, height: CGFloat? = nil, alignment: Alignment = .center
  ) -> some View { _Modified<Self>() }
  public func frame(
    minWidth: CGFloat? = nil, idealWidth: CGFloat? = nil, maxWidth: CGFloat? = nil,
    minHeight: CGFloat? = nil, idealHeight: CGFloat? = nil, maxHeight: CGFloat? = nil,
    alignment: Alignment = .center
  ) -> some View { _Modified<Self>() }
  public func aspectRatio(_ aspectRatio: CGFloat? = nil, contentMode: ContentMode) -> some View {
    _Modified<Self>()
  }
}

// https://developer.apple.com/documentation/swiftui/view-appearance
extension View {
  public func background<S: ShapeStyle, T: InsettableShape>(
    _ style: S, in shape: T, fillStyle: FillStyle = FillStyle()
  ) -> some View { _Modified<Self>() }
  public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { _Modified<Self>() }
  public func font(_ font: Font?) -> some View { _Modified<Self>() }
  public func monospacedDigit() -> some View { _Modified<Self>() }
  public func textSelection<S: TextSelectability>(_ selectability: S) -> some View {
    _Modified<Self>()
  }
}

// https://developer.apple.com/documentation/swiftui/view-style-modifiers
extension View {
  public func buttonStyle<S: PrimitiveButtonStyle>(_ style: S) -> some View { _Modified<Self>() }
  public func pickerStyle<S: PickerStyle>(_ style: S) -> some View { _Modified<Self>() }
  public func scrollBounceBehavior(
    _ behavior: ScrollBounceBehavior, axes: Axis.Set = [.vertical]
  ) -> some View { _Modified<Self>() }
}

// https://developer.apple.com/documentation/swiftui/view-input-and-events
extension View {
  public func disabled(_ disabled: Bool) -> some View { _Modified<Self>() }
  public func onChange<V: Equatable>(
    of value: V, initial: Bool = false, _ action: @escaping (V, V) -> Void
  ) -> some View { _Modified<Self>() }
  public func gesture<T: Gesture>(_ gesture: T) -> some View { _Modified<Self>() }
  public func tag<V: Hashable>(_ tag: V, includeOptional: Bool = true) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/task(priority:_:)
  public func task(
    priority: TaskPriority = .userInitiated,
    @_inheritActorContext _ action: sending @escaping @isolated(any) () async -> Void
  ) -> some View { _Modified<Self>() }
}

// https://developer.apple.com/documentation/swiftui/view-presentation
extension View {
  public func sheet<Content: View>(
    isPresented: Binding<Bool>, onDismiss: (() -> Void)? = nil,
    @ViewBuilder content: @escaping () -> Content
  ) -> some View { _Modified<Self>() }
  public func navigationTitle(_ titleKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  public func toolbar<Content: View>(@ViewBuilder content: () -> Content) -> some View {
    _Modified<Self>()
  }
}

// https://developer.apple.com/documentation/swiftui/view-accessibility
extension View {
  public func accessibilityElement(children: AccessibilityChildBehavior = .ignore) -> some View {
    _Modified<Self>()
  }
  public func accessibilityIdentifier(_ identifier: String) -> some View { _Modified<Self>() }
  public func accessibilityLabel(_ labelKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  @_disfavoredOverload
  public func accessibilityLabel<S: StringProtocol>(_ label: S) -> some View { _Modified<Self>() }
  public func accessibilityValue(_ valueDescription: Text) -> some View { _Modified<Self>() }
  public func accessibilityValue(_ valueKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  public func accessibilityHint(_ hintKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  public func accessibilityAddTraits(_ traits: AccessibilityTraits) -> some View {
    _Modified<Self>()
  }
  public func accessibilityAction(named nameKey: LocalizedStringKey, _ handler: @escaping () -> Void)
    -> some View
  { _Modified<Self>() }
}
