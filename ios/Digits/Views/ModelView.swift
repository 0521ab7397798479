import DigitKit
import SwiftUI

/// What the model's file says about itself, and the way that images take to it.
struct ModelView: View {
  let model: LoadedModel
  @Binding var path: ReaderPath
  @State private var speed: SpeedSession
  /// How often the person has asked to measure.
  @State private var measurements = 0
  @Environment(\.dismiss) private var dismiss

  init(model: LoadedModel, path: Binding<ReaderPath>) {
    self.model = model
    _path = path
    _speed = State(initialValue: SpeedSession(model: model, description: ThisDevice()))
  }

  var body: some View {
    let facts = model.facts
    NavigationStack {
      Form {
        Section("Model") {
          fact("Run", facts.runID)
          fact("Network", facts.architecture)
          fact("Data", facts.dataset)
          if let accuracy = facts.validationAccuracy {
            Fact(name: "Validation accuracy") {
              Text(accuracy, format: .percent.precision(.fractionLength(1)))
            }
          }
          if let threshold = facts.threshold {
            Fact(name: "Answers from a confidence of") {
              Text(threshold, format: .percent.precision(.fractionLength(0)))
            }
          }
          if let bytes = facts.bytes {
            Fact(name: "Bytes on this device") {
              Text(bytes, format: .number)
            }
          }
          fact("Date", facts.date ?? "")
          fact("License", facts.license)
        }
        Section("Way to the model") {
          Picker("Way to the model", selection: $path) {
            ForEach(ReaderPath.allCases) { path in
              Text(verbatim: path.name).tag(path)
            }
          }
          .pickerStyle(.segmented)
        }
        SpeedSection(session: speed) { measurements += 1 }
      }
      .task(id: measurements) {  // cancelled where the screen is closed: nothing else runs while it measures
        if measurements > 0 {
          await speed.measure()
        }
      }
      .navigationTitle("Model")
      .toolbar {
        ToolbarItem(placement: .confirmationAction) {
          Button("Done") {
            dismiss()
          }
        }
      }
    }
  }

  @ViewBuilder private func fact(_ name: LocalizedStringKey, _ value: String) -> some View {
    if !value.isEmpty {
      Fact(name: name) {
        Text(value)
          .textSelection(.enabled)
      }
    }
  }
}

/// A name and a value; the secondary colour that a form gives to values would have a contrast of 3.4:1.
private struct Fact<Value: View>: View {
  let name: LocalizedStringKey
  @ViewBuilder let value: Value

  var body: some View {
    LabeledContent(name) {
      value
        .foregroundStyle(Color.primary)
    }
  }
}

/// A button in the toolbar that shows the model's facts.
private struct ModelButton: ViewModifier {
  let model: LoadedModel
  @Binding var path: ReaderPath
  let willShow: () -> Void
  @State private var isShown = false

  func body(content: Content) -> some View {
    content
      .toolbar {
        ToolbarItem(placement: .primaryAction) {
          Button("Model", systemImage: "info.circle") {
            willShow()
            isShown = true
          }
          .accessibilityIdentifier("model")
        }
      }
      .sheet(isPresented: $isShown) {
        ModelView(model: model, path: $path)
      }
  }
}

extension View {
  /// - Parameter willShow: ends what must not run beside a measurement.
  func modelButton(
    model: LoadedModel, path: Binding<ReaderPath>, willShow: @escaping () -> Void = {}
  ) -> some View {
    modifier(ModelButton(model: model, path: path, willShow: willShow))
  }
}

#Preview {
  if let model = try? LoadedModel.preview(labels: ["7", "9"]) {
    ModelView(model: model, path: .constant(.vision))
  }
}
