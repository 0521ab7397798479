import DigitKit
import SwiftUI

@main
struct DigitsApp: App {
  @State private var session = Session(loader: Self.loader)

  var body: some Scene {
    WindowGroup {
      RootView(session: session)
    }
  }

  /// UI tests launch the app with `-no-model` to see the screen that it has before the first promotion.
  private static var loader: any ModelLoader {
    ProcessInfo.processInfo.arguments.contains("-no-model") ? NoModel() : BundledModel()
  }
}

private struct NoModel: ModelLoader {
  func load() async throws -> LoadedModel? { nil }
}
