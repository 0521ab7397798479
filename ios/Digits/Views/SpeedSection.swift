import DigitKit
import SwiftUI

/// Times the model on this device and shares what came out.
struct SpeedSection: View {
  let session: SpeedSession
  let measure: @MainActor () -> Void

  var body: some View {
    Section("Speed on this device") {
      ForEach(session.timings) { timing in
        LabeledContent {
          VStack(alignment: .trailing) {
            Text("\(milliseconds(timing.median)) ms an image")
            Text("\(milliseconds(timing.load)) ms to load, \(milliseconds(timing.first)) ms the first image")
              .font(.caption)
          }
          .foregroundStyle(Color.primary)
        } label: {
          Text(timing.processors.text)
        }
        .accessibilityElement(children: .combine)
      }
      switch session.phase {
      case .ready:
        measureButton
      case .measuring(let processors):
        ProgressView("Measuring: \(processors.text)")
      case .measured(_, let file):
        ShareLink("Share the measurements", item: file)
          .accessibilityIdentifier("share")
        measureButton
      case .failed(let error):
        Text(explain(error))
        measureButton
      }
    }
  }

  private var measureButton: some View {
    Button("Measure", systemImage: "stopwatch", action: measure)
      .disabled(!session.canMeasure)
      .accessibilityIdentifier("measure")
  }

  private func milliseconds(_ value: Double) -> String {
    value.formatted(.number.precision(.fractionLength(2)))
  }
}

extension Processors {
  /// What Core ML may use, as a text.
  var text: String {
    switch self {
    case .cpu: String(localized: "CPU")
    case .cpuAndNeuralEngine: String(localized: "CPU and Neural Engine")
    case .all: String(localized: "All processors")
    }
  }
}

#Preview {
  if let model = try? LoadedModel.preview(labels: ["7", "9"]) {
    Form {
      SpeedSection(session: SpeedSession(model: model, description: ThisDevice())) {}
    }
  }
}
