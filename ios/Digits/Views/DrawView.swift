import DigitKit
import SwiftUI

/// The pad with its buttons, and the reading below it.
struct DrawView: View {
  @Bindable var session: DrawingSession
  @Environment(\.verticalSizeClass) private var height

  var body: some View {
    // The pad stands outside the scroll view, which would take drags for scrolling.
    let layout = height == .compact ? AnyLayout(HStackLayout(spacing: 16)) : AnyLayout(VStackLayout(spacing: 16))
    layout {
      PadView(session: session)
      ScrollView {
        VStack(spacing: 16) {
          ButtonRow {
            Button("Undo", systemImage: "arrow.uturn.backward") {
              session.undoAloud()
            }
            .accessibilityIdentifier("undo")
            Button("Clear", systemImage: "trash") {
              session.clearAloud()
            }
            .accessibilityIdentifier("clear")
            Button("Predict", systemImage: "sparkles") {
              Task { await session.announceReading() }
            }
            .prominent()
            .accessibilityIdentifier("predict")
          }
          .disabled(session.drawing.isEmpty)
          ReadingView(reading: session.reading, image: session.image.image, failure: session.failure.map(explain)) {
            Text("Draw a digit")
          }
        }
        .frame(maxWidth: 480)
      }
      .scrollBounceBehavior(.basedOnSize)
    }
    .padding()
    .navigationTitle("Draw a digit")
    .modelButton(model: session.model, path: $session.path)
  }
}

extension DrawingSession {
  func undoAloud() {
    undo()
    announce(String(localized: "The last stroke is gone."))
  }

  func clearAloud() {
    clear()
    announce(String(localized: "The pad is empty."))
  }

  /// Says the reading of the drawing as it is to VoiceOver.
  func announceReading() async {
    let reading = await predict()
    if let text = reading?.spoken ?? failure.map(explain) {
      announce(text)
    }
  }
}

/// Has VoiceOver say something, which what it says of a button that was just pressed does not cut off.
func announce(_ text: String) {
  var announcement = AttributedString(text)
  announcement.accessibilitySpeechAnnouncementPriority = .high
  AccessibilityNotification.Announcement(announcement).post()
}

#Preview("Read") {
  DrawView(session: .preview(confidences: [0.86, 0.1, 0.04]))
}

#Preview("Not known") {
  DrawView(session: .preview(confidences: [0.4, 0.35, 0.25]))
}

#Preview("Failed") {
  DrawView(session: .preview(confidences: [], failure: .noProbabilities))
}
