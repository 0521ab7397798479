import DigitKit
import SwiftUI

/// The model's answer, its best guesses, and the picture that it saw.
struct ReadingView<Invitation: View>: View {
  let reading: Reading?
  let image: PixelImage?
  let failure: String?
  /// What stands in the answer's place before there is one.
  @ViewBuilder let invitation: Invitation
  @Environment(\.dynamicTypeSize) private var textSize

  var body: some View {
    // Large text and the picture find no room beside each other.
    let layout =
      textSize.isAccessibilitySize ? AnyLayout(VStackLayout(alignment: .leading)) : AnyLayout(HStackLayout())
    VStack(alignment: .leading, spacing: 12) {
      layout {
        headline
          .frame(maxWidth: .infinity, alignment: .leading)
        if let image {
          SeenView(image: image)
        }
      }
      if let failure {
        Label(failure, systemImage: "exclamationmark.triangle")
      }
      ForEach(reading?.best ?? []) { guess in
        BarView(guess: guess)
          .accessibilityHidden(guess == reading?.best.first)  // the headline says it
      }
    }
    .padding()
    .background(.background.secondary, in: .rect(cornerRadius: 20))
  }

  @ViewBuilder private var headline: some View {
    if let reading, !reading.best.isEmpty {
      answer(of: reading)
        .accessibilityIdentifier("answer")
        .accessibilityLabel(reading.spoken)
    } else {
      invitation
        .font(.title2)
        .accessibilityIdentifier("answer")
    }
  }

  @ViewBuilder private func answer(of reading: Reading) -> some View {
    if let answer = reading.answer {
      Text(answer.label)
        .font(.system(.largeTitle, design: .rounded, weight: .bold))
    } else {
      Text("I do not know")
        .font(.title2)
    }
  }
}

/// One guess with its confidence as a bar.
struct BarView: View {
  let guess: Guess

  var body: some View {
    // The bars stand below the texts: equally long for labels of any length and text of any size.
    ProgressView(value: min(max(guess.confidence, 0), 1)) {
      HStack(alignment: .firstTextBaseline) {
        Text(guess.label)
          .font(.headline)
        Spacer()
        Text(guess.confidence, format: .percent.precision(.fractionLength(1)))
          .monospacedDigit()
      }
    }
    .accessibilityElement()
    .accessibilityLabel(guess.label)
    .accessibilityValue(Text(guess.confidence, format: .percent.precision(.fractionLength(0))))
  }
}

/// The pixels as the model gets them, and what they are.
struct SeenView: View {
  let image: PixelImage

  var body: some View {
    VStack {
      if let picture = image.cgImage {
        Image(decorative: picture, scale: 1)
          .resizable()
          .interpolation(.none)
          .aspectRatio(contentMode: .fit)
          .frame(width: 84, height: 84)
          .background(.black, in: .rect(cornerRadius: 8))
      }
      Text("What the model sees")
        .font(.caption)
    }
    .accessibilityElement()
    .accessibilityLabel("What the model sees")
  }
}

#Preview("Long labels, large text") {
  ReadingView(reading: .preview, image: Photograph.preview.image, failure: nil) { EmptyView() }
    .dynamicTypeSize(.accessibility3)
}
