import SwiftUI

@main
struct DigitsApp: App {
  @State private var session = Session()

  var body: some Scene {
    WindowGroup {
      RootView(session: session)
        .task { await session.load() }
    }
  }
}
