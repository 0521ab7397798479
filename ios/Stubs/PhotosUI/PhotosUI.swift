// The part of PhotosUI that the app uses, with Apple's signatures. Nothing here ever runs.
import Foundation
import SwiftUI

// https://developer.apple.com/documentation/coretransferable/transferable
public protocol Transferable {}
extension Data: Transferable {}

// https://developer.apple.com/documentation/photosui/phpickerfilter-swift.struct
public struct PHPickerFilter: Equatable, Hashable, Sendable {
  public static let images = PHPickerFilter()
}

// https://developer.apple.com/documentation/photosui/photospickeritem
public struct PhotosPickerItem: Equatable, Hashable, Sendable {
  // https://developer.apple.com/documentation/photosui/photospickeritem/encodingdisambiguationpolicy
  public struct EncodingDisambiguationPolicy: Equatable, Hashable, Sendable {
    public static let automatic = EncodingDisambiguationPolicy()
  }

  // https://developer.apple.com/documentation/photosui/photospickeritem/loadtransferable(type:)
  public func loadTransferable<T: Transferable>(type: T.Type) async throws -> T? { fatalError() }
}

// https://developer.apple.com/documentation/photosui/photospicker
public struct PhotosPicker<Label: View>: PrimitiveView {}
extension PhotosPicker where Label == Text {
  // https://developer.apple.com/documentation/photosui/photospicker/init(_:selection:matching:preferreditemencoding:)
  public init(
    _ titleKey: LocalizedStringKey, selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter? = nil,
    preferredItemEncoding: PhotosPickerItem.EncodingDisambiguationPolicy = .automatic
  ) { fatalError() }
}
