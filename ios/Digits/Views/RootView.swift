import DigitKit
import SwiftUI

/// The screen that the model asks for, and what to do where there is none.
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
          description: Text("Run python -m conversion.promote in the repository, then build the app again.")
        )
      case .refused(let reason):
        ContentUnavailableView(
          "This model cannot be used",
          systemImage: "exclamationmark.triangle",
          description: Text(explain(reason))
        )
      case .drawing(let drawing):
        DrawView(session: drawing)
      case .photographs(let photographs):
        PhotoView(session: photographs)
      }
    }
    .task { await session.load() }
  }
}

#Preview("Loading") {
  RootView(session: Session(loader: PreviewLoader(seconds: 3600)))
}

#Preview("No model") {
  RootView(session: Session(loader: PreviewLoader(kind: .none)))
}

#Preview("Refused") {
  RootView(session: Session(loader: PreviewLoader(kind: .refused)))
}

#Preview("Drawing") {
  RootView(session: Session(loader: PreviewLoader(kind: .digits)))
}

#Preview("Photographs") {
  RootView(session: Session(loader: PreviewLoader(kind: .photographs)))
}
