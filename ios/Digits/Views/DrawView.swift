import DigitKit
import SwiftUI

/// The pad with its buttons, and the reading below it.
struct DrawView: View {
  let session: Session
  let facts: ModelFacts
  @State private var showsModel = false
  @Environment(\.verticalSizeClass) private var height

  var body: some View {
    // The pad stands outside the scroll view, which would take drags for scrolling.
    let layout =
      height == .compact
      ? AnyLayout(HStackLayout(spacing: 16)) : AnyLayout(VStackLayout(spacing: 16))
    layout {
      PadView(session: session)
      ScrollView {
        VStack(spacing: 16) {
          HStack(spacing: 12) {
            Button("Clear", systemImage: "trash") {
              session.clear()
              announce("The pad is empty.")
            }
            .accessibilityIdentifier("clear")
            Button("Predict", systemImage: "sparkles") {
              Task { await predict() }
            }
            .buttonStyle(.borderedProminent)
            .accessibilityIdentifier("predict")
          }
          .buttonStyle(.bordered)
          .disabled(session.drawing.isEmpty)
          ReadingView(reading: session.reading, image: session.image, failure: session.failure)
        }
        .frame(maxWidth: 480)
      }
      .scrollBounceBehavior(.basedOnSize)
    }
    .padding()
    .navigationTitle("Draw a digit")
    .toolbar {
      Button("Model", systemImage: "info.circle") {
        showsModel = true
      }
      .accessibilityIdentifier("model")
    }
    .sheet(isPresented: $showsModel) {
      ModelView(session: session, facts: facts)
    }
  }

  private func predict() async {
    let reading = await session.predict()
    announce(reading?.spoken ?? session.failure ?? "There is nothing to read.")
  }
}

/// Says something to VoiceOver.
func announce(_ text: String) {
  AccessibilityNotification.Announcement(text).post()
}
