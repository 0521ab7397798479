import DigitKit
import SwiftUI

/// The pad where there is a model, and what to do where there is none.
struct RootView: View {
  let session: Session

  var body: some View {
    NavigationStack {
      switch session.phase {
      case .loading:
        ProgressView("Loading the model")
      case .missing:
        ContentUnavailableView(
          "No model yet",
          systemImage: "shippingbox",
          description: Text(
            "Run python -m conversion.promote in the repository, then build the app again.")
        )
      case .refused(let reason):
        ContentUnavailableView(
          "This model cannot be used",
          systemImage: "exclamationmark.triangle",
          description: Text(reason)
        )
      case .ready(let facts):
        DrawView(session: session, facts: facts)
      }
    }
  }
}

#if !os(Linux)
  #Preview {
    RootView(session: Session())
  }
#endif
