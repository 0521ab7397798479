// Containers, controls and drawing. See SwiftUI.swift.
import CoreGraphics
import Foundation

// https://developer.apple.com/documentation/swiftui/navigationstack
public struct NavigationPath {}
public struct NavigationStack<Data, Root: View>: PrimitiveView {
  public init(@ViewBuilder root: () -> Root) where Data == NavigationPath { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/vstack
public struct VStack<Content: View>: PrimitiveView {
  public init(
    alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil,
    @ViewBuilder content: () -> Content
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/hstack
public struct HStack<Content: View>: PrimitiveView {
  public init(
    alignment: VerticalAlignment = .center, spacing: CGFloat? = nil,
    @ViewBuilder content: () -> Content
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/layout
public protocol Layout: Sendable {}

// https://developer.apple.com/documentation/swiftui/hstacklayout
public struct HStackLayout: Layout {
  public init(alignment: VerticalAlignment = .center, spacing: CGFloat? = nil) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/vstacklayout
public struct VStackLayout: Layout {
  public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/anylayout
public struct AnyLayout: Layout {
  public init<L: Layout>(_ layout: L) { fatalError() }
  @MainActor public func callAsFunction<V: View>(@ViewBuilder _ content: () -> V) -> some View {
    content()
  }
}

// https://developer.apple.com/documentation/swiftui/spacer
public struct Spacer: PrimitiveView {
  public init(minLength: CGFloat? = nil) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/viewthatfits
public struct ViewThatFits<Content: View>: PrimitiveView {
  public init(in axes: Axis.Set = [.horizontal, .vertical], @ViewBuilder content: () -> Content) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/scrollview
public struct ScrollView<Content: View>: PrimitiveView {
  public init(
    _ axes: Axis.Set = .vertical, showsIndicators: Bool = true, @ViewBuilder content: () -> Content
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/form
public struct Form<Content: View>: PrimitiveView {
  public init(@ViewBuilder content: () -> Content) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/section
public struct Section<Parent, Content, Footer> {}
extension Section: View where Parent: View, Content: View, Footer: View {
  public var body: Never { fatalError() }
}
extension Section where Parent == Text, Content: View, Footer == EmptyView {
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) { fatalError() }
  public init(_ titleKey: LocalizedStringKey, @ViewBuilder content: () -> Content) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/foreach
public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content> {}
extension ForEach: View where Content: View {
  public var body: Never { fatalError() }
}
extension ForEach where ID == Data.Element.ID, Content: View, Data.Element: Identifiable {
  public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content) {
    fatalError()
  }
}

// https://developer.apple.com/documentation/swiftui/localizedstringkey
public struct LocalizedStringKey: Equatable, ExpressibleByStringInterpolation {
  public init(stringLiteral value: String) { fatalError() }
  // https://developer.apple.com/documentation/swiftui/localizedstringkey/stringinterpolation
  public init(stringInterpolation: StringInterpolation) { fatalError() }
  public struct StringInterpolation: StringInterpolationProtocol {
    public init(literalCapacity: Int, interpolationCount: Int) { fatalError() }
    public mutating func appendLiteral(_ literal: String) { fatalError() }
    public mutating func appendInterpolation(_ string: String) { fatalError() }
    public mutating func appendInterpolation(_ value: Int) { fatalError() }
  }
}

// https://developer.apple.com/documentation/swiftui/text
public struct Text: PrimitiveView, Equatable {
  public init(_ key: LocalizedStringKey, comment: StaticString? = nil) { fatalError() }
  @_disfavoredOverload public init<S: StringProtocol>(_ content: S) { fatalError() }
  public init(verbatim content: String) { fatalError() }
  public init<F: FormatStyle>(_ input: F.FormatInput, format: F)
  where F.FormatInput: Equatable, F.FormatOutput == String { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/label
public struct Label<Title, Icon> {}
extension Label: View where Title: View, Icon: View {
  public var body: Never { fatalError() }
}
extension Label where Title == Text, Icon == Image {
  public init(_ titleKey: LocalizedStringKey, systemImage name: String) { fatalError() }
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, systemImage name: String) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/image
public struct Image: PrimitiveView {
  // https://developer.apple.com/documentation/swiftui/image/orientation
  public enum Orientation: UInt8, Sendable { case up }
  // https://developer.apple.com/documentation/swiftui/image/interpolation
  public enum Interpolation: Sendable { case none, low, medium, high }
  // https://developer.apple.com/documentation/swiftui/image/resizingmode
  public enum ResizingMode: Sendable { case tile, stretch }
  // https://developer.apple.com/documentation/swiftui/image/init(decorative:scale:orientation:)
  public init(decorative cgImage: CGImage, scale: CGFloat, orientation: Orientation = .up) { fatalError() }
  // https://developer.apple.com/documentation/swiftui/image/init(_:scale:orientation:label:)
  public init(_ cgImage: CGImage, scale: CGFloat, orientation: Orientation = .up, label: Text) { fatalError() }
  public func interpolation(_ interpolation: Interpolation) -> Image { fatalError() }
  public func resizable(capInsets: EdgeInsets = EdgeInsets(), resizingMode: ResizingMode = .stretch) -> Image {
    fatalError()
  }
}

// https://developer.apple.com/documentation/swiftui/edgeinsets
public struct EdgeInsets: Equatable, Sendable {
  public init() {}
}

// https://developer.apple.com/documentation/swiftui/button
public struct Button<Label: View>: PrimitiveView {}
extension Button where Label == Text {
  public init(_ titleKey: LocalizedStringKey, action: @escaping @MainActor () -> Void) {
    fatalError()
  }
}
extension Button where Label == SwiftUI.Label<Text, Image> {
  public init(
    _ titleKey: LocalizedStringKey, systemImage: String, action: @escaping @MainActor () -> Void
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/toggle
public struct Toggle<Label: View>: PrimitiveView {}
extension Toggle where Label == Text {
  public init(_ titleKey: LocalizedStringKey, isOn: Binding<Bool>) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/progressview
public struct ProgressView<Label: View, CurrentValueLabel: View>: PrimitiveView {}
extension ProgressView where CurrentValueLabel == EmptyView {
  public init(_ titleKey: LocalizedStringKey) where Label == Text { fatalError() }
  // https://developer.apple.com/documentation/swiftui/progressview/init(value:total:label:)
  public init<V: BinaryFloatingPoint>(value: V?, total: V = 1.0, @ViewBuilder label: () -> Label) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/sharelink; its content is a label with the title and a symbol
public struct ShareLink: PrimitiveView {
  // https://developer.apple.com/documentation/swiftui/sharelink/init(_:item:subject:message:)
  public init(_ titleKey: LocalizedStringKey, item: URL, subject: Text? = nil, message: Text? = nil) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/labeledcontent
public struct LabeledContent<Label, Content> {}
extension LabeledContent: View where Label: View, Content: View {
  public var body: Never { fatalError() }
}
extension LabeledContent where Label: View, Content: View {
  public init(@ViewBuilder content: () -> Content, @ViewBuilder label: () -> Label) { fatalError() }
}
extension LabeledContent where Label == Text, Content: View {
  public init(_ titleKey: LocalizedStringKey, @ViewBuilder content: () -> Content) { fatalError() }
  @_disfavoredOverload
  public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/picker
public struct Picker<Label: View, SelectionValue: Hashable, Content: View>: PrimitiveView {}
extension Picker where Label == Text {
  public init(
    _ titleKey: LocalizedStringKey, selection: Binding<SelectionValue>,
    @ViewBuilder content: () -> Content
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/contentunavailableview
public struct ContentUnavailableView<Label: View, Description: View, Actions: View>: PrimitiveView {
  public init(
    @ViewBuilder label: () -> Label, @ViewBuilder description: () -> Description = { EmptyView() },
    @ViewBuilder actions: () -> Actions = { EmptyView() }
  ) { fatalError() }
}
extension ContentUnavailableView
where Label == SwiftUI.Label<Text, Image>, Description == Text?, Actions == EmptyView {
  public init(_ title: LocalizedStringKey, systemImage name: String, description: Text? = nil) {
    fatalError()
  }
}

// https://developer.apple.com/documentation/swiftui/geometryreader
public struct GeometryReader<Content: View>: PrimitiveView {
  public init(@ViewBuilder content: @escaping (GeometryProxy) -> Content) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/geometryproxy
public struct GeometryProxy {
  public var size: CGSize { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/canvas
public struct Canvas<Symbols: View>: PrimitiveView {}
extension Canvas where Symbols == EmptyView {
  public init(
    opaque: Bool = false, rendersAsynchronously: Bool = false,
    renderer: @escaping (inout GraphicsContext, CGSize) -> Void
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/graphicscontext
public struct GraphicsContext {
  public struct Shading: Sendable {
    public static func color(_ color: Color) -> Shading { fatalError() }
  }
  public func stroke(_ path: Path, with shading: Shading, style: StrokeStyle) { fatalError() }
  public func fill(_ path: Path, with shading: Shading, style: FillStyle = FillStyle()) {
    fatalError()
  }
}

// https://developer.apple.com/documentation/swiftui/fillstyle
public struct FillStyle: Equatable, Sendable {
  public init(eoFill: Bool = false, antialiased: Bool = true) { fatalError() }
}

// https://developer.apple.com/documentation/coregraphics/cglinecap
public enum CGLineCap: Int32, Sendable {
  case butt, round, square
}

// https://developer.apple.com/documentation/coregraphics/cglinejoin
public enum CGLineJoin: Int32, Sendable {
  case miter, round, bevel
}

// https://developer.apple.com/documentation/swiftui/strokestyle
public struct StrokeStyle: Equatable, Sendable {
  public init(
    lineWidth: CGFloat = 1, lineCap: CGLineCap = .butt, lineJoin: CGLineJoin = .miter,
    miterLimit: CGFloat = 10, dash: [CGFloat] = [CGFloat](), dashPhase: CGFloat = 0
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/path
public struct Path: Equatable, Sendable {
  public init() { fatalError() }
  public init(_ rect: CGRect) { fatalError() }
  public mutating func move(to end: CGPoint) { fatalError() }
  public mutating func addLine(to end: CGPoint) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/shape
public protocol Shape: Sendable {}

// https://developer.apple.com/documentation/swiftui/insettableshape
public protocol InsettableShape: Shape {}

// https://developer.apple.com/documentation/swiftui/roundedcornerstyle
public enum RoundedCornerStyle: Sendable {
  case circular, continuous
}

// https://developer.apple.com/documentation/swiftui/roundedrectangle
public struct RoundedRectangle: InsettableShape {}
extension Shape where Self == RoundedRectangle {
  public static func rect(cornerRadius: CGFloat, style: RoundedCornerStyle = .continuous) -> Self {
    fatalError()
  }
}

// https://developer.apple.com/documentation/swiftui/shapestyle
public protocol ShapeStyle: Sendable {}
extension ShapeStyle where Self == HierarchicalShapeStyle {
  public static var secondary: HierarchicalShapeStyle { fatalError() }
}
extension ShapeStyle where Self == BackgroundStyle {
  public static var background: BackgroundStyle { fatalError() }
}
extension ShapeStyle where Self == Color {
  public static var black: Color { fatalError() }
}
extension ShapeStyle {
  // https://developer.apple.com/documentation/swiftui/shapestyle/secondary-swift.property
  public var secondary: some ShapeStyle { HierarchicalShapeStyle() }
}

// https://developer.apple.com/documentation/swiftui/hierarchicalshapestyle
public struct HierarchicalShapeStyle: ShapeStyle {}

// https://developer.apple.com/documentation/swiftui/backgroundstyle
public struct BackgroundStyle: ShapeStyle {}

// https://developer.apple.com/documentation/swiftui/color
public struct Color: ShapeStyle, Hashable {
  public enum RGBColorSpace: Sendable {
    case sRGB
  }
  public init(_ colorSpace: RGBColorSpace = .sRGB, white: Double, opacity: Double = 1) {
    fatalError()
  }
  public static let primary = Color(white: 0)
}

// https://developer.apple.com/documentation/swiftui/font
public struct Font: Hashable, Sendable {
  public enum TextStyle: Sendable { case largeTitle, title2, headline, caption }
  public enum Design: Sendable { case rounded }
  public enum Weight: Sendable { case bold }
  public static let title2 = Font()
  public static let headline = Font()
  public static let caption = Font()
  public static func system(
    _ style: TextStyle, design: Design? = nil, weight: Weight? = nil
  ) -> Font { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/gesture
@MainActor @preconcurrency public protocol Gesture<Value> {
  associatedtype Value
}
extension Gesture {
  public func onChanged(_ action: @escaping (Value) -> Void) -> _EndedGesture<Self>
  where Value: Equatable { fatalError() }
  // https://developer.apple.com/documentation/swiftui/gesture/onended(_:)
  public func onEnded(_ action: @escaping (Value) -> Void) -> _EndedGesture<Self> { fatalError() }
  public func updating<State>(
    _ state: GestureState<State>,
    body: @escaping (Value, inout State, inout Transaction) -> Void
  ) -> _EndedGesture<Self> { fatalError() }
}
public struct _EndedGesture<Content: Gesture>: Gesture {
  public typealias Value = Content.Value
}

// https://developer.apple.com/documentation/swiftui/draggesture
public struct DragGesture: Gesture {
  public struct Value: Equatable, Sendable {
    public var location: CGPoint
  }
  public init(
    minimumDistance: CGFloat = 10, coordinateSpace: some CoordinateSpaceProtocol = .local
  ) { fatalError() }
}

// https://developer.apple.com/documentation/swiftui/coordinatespaceprotocol
public protocol CoordinateSpaceProtocol {}
public struct LocalCoordinateSpace: CoordinateSpaceProtocol {}
extension CoordinateSpaceProtocol where Self == LocalCoordinateSpace {
  public static var local: LocalCoordinateSpace { fatalError() }
}
