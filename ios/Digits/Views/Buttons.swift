import SwiftUI

/// Buttons in a row, or below each other where the row has no room for their texts.
struct ButtonRow<Buttons: View>: View {
  @ViewBuilder let buttons: Buttons

  var body: some View {
    ViewThatFits(in: .horizontal) {
      HStack(spacing: 12) { buttons }
      VStack(spacing: 12) { buttons }
    }
    .buttonStyle(.bordered)
  }
}

extension View {
  /// The button that is meant to be pressed next.
  ///
  /// Its text has the colour of the screen's background, from which the accent colour stands out in the light and in the
  /// dark appearance; white would be too pale on the dark one's.
  func prominent() -> some View {
    buttonStyle(.borderedProminent)
      .foregroundStyle(.background)
  }
}

#Preview {
  VStack(spacing: 32) {
    ButtonRow {
      Button("Undo", systemImage: "arrow.uturn.backward") {}
      Button("Predict", systemImage: "sparkles") {}
        .prominent()
    }
    ButtonRow {
      Button("Undo", systemImage: "arrow.uturn.backward") {}
      Button("Predict", systemImage: "sparkles") {}
        .prominent()
    }
    .frame(width: 180)
  }
}
