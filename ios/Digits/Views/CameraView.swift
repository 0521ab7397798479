import DigitKit
import SwiftUI
import UIKit

/// The camera's picture, or why there is none.
struct CameraView: View {
  let state: CameraFeed.Phase
  let frame: Photograph?
  @Environment(\.openURL) private var openURL

  var body: some View {
    switch state {
    case .off:
      EmptyView()
    case .starting:
      ProgressView("Starting the camera")
    case .failed(.notAllowed):
      ContentUnavailableView {
        Label("The camera is not allowed", systemImage: "camera.fill")
      } description: {
        Text("Allow it in Settings, or choose a photo.")
      } actions: {
        Button("Open Settings") {
          if let url = URL(string: UIApplication.openSettingsURLString) {
            openURL(url)
          }
        }
      }
    case .failed(let problem):
      ContentUnavailableView("No camera", systemImage: "camera.fill", description: Text(problem.text))
    case .running:
      if let picture = frame?.image.cgImage {
        Image(picture, scale: 1, label: Text("What the camera sees"))
          .resizable()
          .aspectRatio(contentMode: .fit)
      }
    }
  }
}

#Preview("Running") {
  CameraView(state: .running, frame: .preview)
}

#Preview("Starting") {
  CameraView(state: .starting, frame: nil)
}

#Preview("Not allowed") {
  CameraView(state: .failed(.notAllowed), frame: nil)
}

#Preview("No camera") {
  CameraView(state: .failed(.missing), frame: nil)
}
