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

// https://developer.apple.com/documentation/swiftui/gesturemask
public struct GestureMask: OptionSet, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  public static let all = GestureMask(rawValue: 3)
}

// https://developer.apple.com/documentation/swiftui/accessibilitydirecttouchoptions
public struct AccessibilityDirectTouchOptions: OptionSet, Sendable {
  public let rawValue: UInt

  public init(rawValue: UInt) {
    self.rawValue = rawValue
  }

  public static let silentOnTouch = AccessibilityDirectTouchOptions(rawValue: 1)
}

// https://developer.apple.com/documentation/swiftui/accessibilitychildbehavior
public struct AccessibilityChildBehavior: Hashable, Sendable {
  public static let ignore = AccessibilityChildBehavior()
  public static let combine = AccessibilityChildBehavior()
}

// https://developer.apple.com/documentation/accessibility/accessibilitynotification
public enum AccessibilityNotification {
  // https://developer.apple.com/documentation/accessibility/accessibilitynotification/announcement
  public struct Announcement: Sendable {
    public init(_ announcement: AttributedString) { fatalError() }
    public func post() { fatalError() }
  }
}

extension AttributeScopes {
  // https://developer.apple.com/documentation/foundation/attributescopes/accessibilityattributes
  public enum AccessibilityAttributes {
    public enum AnnouncementPriorityAttribute {
      public enum AnnouncementPriority: Sendable { case low, `default`, high }
    }
  }
}

extension AttributedString {
  // https://developer.apple.com/documentation/foundation/attributescopes/accessibilityattributes/accessibilityspeechannouncementpriority
  // With Apple it is found by dynamic member lookup.
  public var accessibilitySpeechAnnouncementPriority:
    AttributeScopes.AccessibilityAttributes.AnnouncementPriorityAttribute.AnnouncementPriority?
  {
    get { fatalError() }
    set { fatalError() }
  }
}

extension View {
  // https://developer.apple.com/documentation/swiftui/view/padding(_:_:)
  public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/frame(width:height:alignment:)
  public func frame(
    width: CGFloat? = nil, height: CGFloat? = nil, alignment: Alignment = .center
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/frame(minwidth:idealwidth:maxwidth:minheight:idealheight:maxheight:alignment:)
  public func frame(
    minWidth: CGFloat? = nil, idealWidth: CGFloat? = nil, maxWidth: CGFloat? = nil,
    minHeight: CGFloat? = nil, idealHeight: CGFloat? = nil, maxHeight: CGFloat? = nil,
    alignment: Alignment = .center
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/aspectratio(_:contentmode:)
  public func aspectRatio(_ aspectRatio: CGFloat? = nil, contentMode: ContentMode) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/background(_:in:fillstyle:)-20tq5
  public func background<S: ShapeStyle, T: InsettableShape>(
    _ style: S, in shape: T, fillStyle: FillStyle = FillStyle()
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/foregroundstyle(_:)
  public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/font(_:)
  public func font(_ font: Font?) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/dynamictypesize(_:)
  public func dynamicTypeSize(_ size: DynamicTypeSize) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/monospaceddigit()
  public func monospacedDigit() -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/textselection(_:)
  public func textSelection<S: TextSelectability>(_ selectability: S) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/buttonstyle(_:)-66fbx
  public func buttonStyle<S: PrimitiveButtonStyle>(_ style: S) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/pickerstyle(_:)
  public func pickerStyle<S: PickerStyle>(_ style: S) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/scrollbouncebehavior(_:axes:)
  public func scrollBounceBehavior(
    _ behavior: ScrollBounceBehavior, axes: Axis.Set = [.vertical]
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/disabled(_:)
  public func disabled(_ disabled: Bool) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/onchange(of:initial:_:)-4psgg
  public func onChange<V: Equatable>(
    of value: V, initial: Bool = false, _ action: @escaping (V, V) -> Void
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/gesture(_:including:)
  public func gesture<T: Gesture>(_ gesture: T, including mask: GestureMask = .all) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/tag(_:includeoptional:)
  public func tag<V: Hashable>(_ tag: V, includeOptional: Bool = true) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/task(priority:_:)
  public func task(
    priority: TaskPriority = .userInitiated,
    @_inheritActorContext _ action: sending @escaping @isolated(any) () async -> Void
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/task(id:priority:_:)
  public func task<T: Equatable>(
    id value: T, priority: TaskPriority = .userInitiated,
    @_inheritActorContext _ action: sending @escaping @isolated(any) () async -> Void
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/ondisappear(perform:)
  public func onDisappear(perform action: (() -> Void)? = nil) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/sheet(ispresented:ondismiss:content:)
  public func sheet<Content: View>(
    isPresented: Binding<Bool>, onDismiss: (() -> Void)? = nil,
    @ViewBuilder content: @escaping () -> Content
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/navigationtitle(_:)-43srq
  public func navigationTitle(_ titleKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/toolbar(content:)-5w0tj
  public func toolbar<Content: ToolbarContent>(@ToolbarContentBuilder content: () -> Content) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/accessibilityelement(children:)
  public func accessibilityElement(children: AccessibilityChildBehavior = .ignore) -> some View {
    _Modified<Self>()
  }
  // https://developer.apple.com/documentation/swiftui/view/accessibilityidentifier(_:)
  public func accessibilityIdentifier(_ identifier: String) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/accessibilitylabel(_:)
  public func accessibilityLabel(_ labelKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  @_disfavoredOverload
  public func accessibilityLabel<S: StringProtocol>(_ label: S) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/accessibilityvalue(_:)
  public func accessibilityValue(_ valueDescription: Text) -> some View { _Modified<Self>() }
  public func accessibilityValue(_ valueKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/accessibilityhint(_:)
  public func accessibilityHint(_ hintKey: LocalizedStringKey) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/accessibilitydirecttouch(_:options:)
  public func accessibilityDirectTouch(
    _ isDirectTouchArea: Bool = true, options: AccessibilityDirectTouchOptions = []
  ) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/accessibilityhidden(_:)
  public func accessibilityHidden(_ hidden: Bool) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/modifier(_:)
  public func modifier<T: ViewModifier>(_ modifier: T) -> some View { _Modified<Self>() }
  // https://developer.apple.com/documentation/swiftui/view/accessibilityaction(named:_:)-9ra29
  public func accessibilityAction(named nameKey: LocalizedStringKey, _ handler: @escaping () -> Void)
    -> some View
  { _Modified<Self>() }
}
