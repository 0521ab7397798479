import DigitKit
import PhotosUI
import SwiftUI
import UIKit

/// A photograph from the library or the camera, live or one at a time, and what the model says of it.
struct PhotoView: View {
  @Bindable var session: PhotoSession
  @State private var camera = CameraFeed()
  @State private var item: PhotosPickerItem?

  var body: some View {
    ScrollView {
      VStack(spacing: 16) {
        CameraView(camera: camera)
        HStack(spacing: 12) {
          PhotosPicker("Choose a photo", selection: $item, matching: .images)
            .accessibilityIdentifier("choose")
          if camera.state == .running {
            Button("Read", systemImage: "camera") {
              Task { await readFrame() }
            }
            .buttonStyle(.borderedProminent)
            .accessibilityIdentifier("read")
          } else {
            Button("Camera", systemImage: "camera") {
              Task { await camera.run { await session.read($0) } }
            }
            .disabled(camera.state == .starting)
            .accessibilityIdentifier("camera")
          }
        }
        .buttonStyle(.bordered)
        if camera.state == .running {
          Toggle("Read along", isOn: $camera.isLive)
        }
        ReadingView(reading: session.reading, image: session.seen, failure: session.failure.map(explain)) {
          Text("Choose or take a photo")
        }
      }
      .frame(maxWidth: 480)
    }
    .padding()
    .navigationTitle("Read a photo")
    .modelButton(model: session.model, path: $session.path)
    .onChange(of: item) { _, chosen in
      if let chosen {
        Task { await read(chosen) }
      }
    }
    .onDisappear { camera.stop() }
  }

  private func read(_ item: PhotosPickerItem) async {
    camera.isLive = false
    await session.read(file: try? await item.loadTransferable(type: Data.self))
    announceReading()
  }

  private func readFrame() async {
    camera.isLive = false
    if let frame = camera.frame {
      await session.read(frame)
      announceReading()
    }
  }

  private func announceReading() {
    if let text = session.reading?.spoken ?? session.failure.map(explain) {
      announce(text)
    }
  }
}

/// The camera's picture, or why there is none.
private struct CameraView: View {
  let camera: CameraFeed
  @Environment(\.openURL) private var openURL

  var body: some View {
    switch camera.state {
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
      if let picture = camera.frame?.image.cgImage {
        Image(decorative: picture, scale: 1)
          .resizable()
          .aspectRatio(contentMode: .fit)
          .accessibilityElement()
          .accessibilityLabel("What the camera sees")
      }
    }
  }
}

#Preview("Nothing read") {
  PhotoView(session: .preview())
}

#Preview("Failed") {
  PhotoView(session: .preview(failure: .noProbabilities))
}
