import DigitKit
import SwiftUI

/// What the model's file says about itself, and the way that images take to it.
struct ModelView: View {
  @Bindable var session: Session
  let facts: ModelFacts
  @Environment(\.dismiss) private var dismiss

  var body: some View {
    NavigationStack {
      Form {
        Section("Model") {
          fact("Run", facts.runID)
          fact("Network", facts.architecture)
          fact("Data", facts.dataset)
          if let accuracy = facts.validationAccuracy {
            LabeledContent("Validation accuracy") {
              Text(accuracy, format: .percent.precision(.fractionLength(1)))
            }
          }
          if let bytes = facts.bytes {
            LabeledContent("Bytes on this device") {
              Text(bytes, format: .number)
            }
          }
          fact("Date", facts.date ?? "")
          fact("License", facts.license)
        }
        Section("Way to the model") {
          Picker("Way to the model", selection: $session.path) {
            ForEach(ReaderPath.allCases) { path in
              Text(path.rawValue).tag(path)
            }
          }
          .pickerStyle(.segmented)
        }
      }
      .navigationTitle("Model")
      .toolbar {
        Button("Done") {
          dismiss()
        }
      }
    }
  }

  @ViewBuilder private func fact(_ name: String, _ value: String) -> some View {
    if !value.isEmpty {
      LabeledContent(name) {
        Text(value)
          .textSelection(.enabled)
      }
    }
  }
}
