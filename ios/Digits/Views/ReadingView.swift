import DigitKit
import SwiftUI

/// The model's answer, its three best guesses, and what it saw.
struct ReadingView: View {
  let reading: Reading?
  let image: DigitImage
  let failure: String?

  var body: some View {
    VStack(alignment: .leading, spacing: 12) {
      HStack(alignment: .center) {
        headline
        Spacer()
        VStack {
          ThumbnailView(image: image)
          Text("What the model sees")
            .font(.caption)
            .foregroundStyle(.secondary)
        }
      }
      if let failure {
        Label(failure, systemImage: "exclamationmark.triangle")
      }
      ForEach(reading?.best ?? []) { guess in
        BarView(guess: guess)
      }
    }
    .padding()
    .background(.background.secondary, in: .rect(cornerRadius: 20))
  }

  @ViewBuilder private var headline: some View {
    if let answer = reading?.answer {
      Text(answer.label)
        .font(.system(.largeTitle, design: .rounded, weight: .bold))
        .accessibilityIdentifier("answer")
        .accessibilityLabel("The model reads \(answer.label)")
    } else if let guess = reading?.best.first {
      Text("Not sure: \(guess.label)?")
        .font(.title2)
        .accessibilityIdentifier("answer")
        .accessibilityLabel("Not sure, perhaps \(guess.label)")
    } else {
      Text("Draw a digit")
        .font(.title2)
        .foregroundStyle(.secondary)
        .accessibilityIdentifier("answer")
    }
  }
}

/// One guess with its confidence as a bar.
struct BarView: View {
  let guess: Guess

  var body: some View {
    HStack(spacing: 12) {
      Text(guess.label)
        .font(.headline)
      ProgressView(value: min(max(guess.confidence, 0), 1))
      Text(guess.confidence, format: .percent.precision(.fractionLength(1)))
        .monospacedDigit()
    }
    .accessibilityElement()
    .accessibilityLabel(guess.label)
    .accessibilityValue(Text(guess.confidence, format: .percent.precision(.fractionLength(0))))
  }
}

/// The 28 by 28 pixels as the model gets them.
struct ThumbnailView: View {
  let image: DigitImage

  var body: some View {
    Canvas { context, size in
      let pixel = size.width / CGFloat(DigitImage.side)
      for (index, ink) in image.pixels.enumerated() where ink > 0 {
        let corner = CGPoint(
          x: CGFloat(index % DigitImage.side) * pixel, y: CGFloat(index / DigitImage.side) * pixel)
        context.fill(
          Path(CGRect(origin: corner, size: CGSize(width: pixel, height: pixel))),
          with: .color(Color(white: Double(ink) / 255))
        )
      }
    }
    .frame(width: 84, height: 84)
    .background(.black, in: .rect(cornerRadius: 8))
    .accessibilityElement()
    .accessibilityLabel("What the model sees")
  }
}
