import DigitKit
import Foundation

/// A failure as a sentence.
func explain(_ error: any Error) -> String {
  switch error {
  case let problem as ModelProblem: problem.text
  case let error as ReadingError: error.text
  case let problem as CameraProblem: problem.text
  default: String(localized: "Something failed: \(error.localizedDescription)")
  }
}

extension ModelProblem {
  var text: String {
    switch self {
    case .inputs(let count):
      String(localized: "The model has \(count) inputs. The app reads models with one image as their only input.")
    case .notAnImage(let name):
      String(localized: "The model's input \(name) is not an image of a fixed size.")
    case .pixelFormat(let name):
      String(localized: "The model's input \(name) has a pixel format other than 8 bits of gray or of RGB.")
    case .noProbabilities:
      String(localized: "The model gives no confidences by label.")
    case .labels:
      String(localized: "The model's labels are not texts, or fewer than two.")
    case .noPreprocessing:
      String(localized: "The model does not say how its drawings are prepared. Promote one with the project's command.")
    case .preprocessing(let version):
      String(localized: "The model was made for version \(version) of the preprocessing. Promote it again.")
    case .fit(let name):
      String(localized: "The model wants photographs fitted by \(name), which the app does not know.")
    case .background(let text):
      String(localized: "The model's background is \(text), which is no colour.")
    case .threshold(let text):
      String(localized: "The model's threshold is \(text), which is no number from 0 to 1.")
    }
  }
}

extension ReadingError {
  var text: String {
    switch self {
    case .noPixelBuffer(let code): String(localized: "No pixel buffer could be made (code \(Int(code))).")
    case .noProbabilities: String(localized: "The model's answer holds no confidences by label.")
    case .noPicture: String(localized: "This is not a photograph that can be read.")
    }
  }
}

extension Reading {
  /// The reading as a sentence for VoiceOver.
  var spoken: String {
    guard let first = best.first else {
      return String(localized: "No reading.")
    }
    let confidence = first.confidence.formatted(.percent.precision(.fractionLength(0)))
    return answer == nil
      ? String(localized: "I do not know. Perhaps \(first.label), \(confidence).")
      : String(localized: "\(first.label), \(confidence).")
  }
}
