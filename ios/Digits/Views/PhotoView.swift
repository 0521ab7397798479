import DigitKit
import PhotosUI
import SwiftUI

/// A photograph from the library or the camera, live or one at a time, and what the model says of it.
struct PhotoView: View {
  @Bindable var session: PhotoSession
  @State private var camera = CameraFeed()
  @State private var item: PhotosPickerItem?

  var body: some View {
    ScrollView {
      VStack(spacing: 16) {
        CameraView(state: camera.state, frame: camera.frame)
        ButtonRow {
          PhotosPicker("Choose a photo", selection: $item, matching: .images)
            .accessibilityIdentifier("choose")
          if camera.state == .running {
            Button("Read", systemImage: "camera") {
              Task { await readFrame() }
            }
            .prominent()
            .accessibilityIdentifier("read")
          } else {
            Button("Camera", systemImage: "camera") {
              camera.run { await session.read($0) }
            }
            .disabled(camera.state == .starting)
            .accessibilityIdentifier("camera")
          }
        }
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
    .modelButton(model: session.model, path: $session.path) { camera.stop() }
    .onChange(of: item) { _, chosen in
      if let chosen {
        item = nil  // so that the same photograph can be chosen again
        Task { await read(chosen) }
      }
    }
    .onDisappear { camera.stop() }
  }

  private func read(_ item: PhotosPickerItem) async {
    camera.isLive = false
    if await session.read(item) {
      announceReading()
    }
  }

  private func readFrame() async {
    camera.isLive = false
    if let frame = camera.frame, await session.read(frame) {
      announceReading()
    }
  }

  private func announceReading() {
    if let text = session.reading?.spoken ?? session.failure.map(explain) {
      announce(text)
    }
  }
}

extension PhotoSession {
  /// Reads a photograph of the library.
  fileprivate func read(_ item: PhotosPickerItem) async -> Bool {
    await read(loading: {
      guard let file = try await item.loadTransferable(type: Data.self) else {
        throw ReadingError.noPicture
      }
      return try await Photograph(file: file)
    })
  }
}

#Preview("Nothing read") {
  PhotoView(session: .preview())
}

#Preview("Read") {
  PhotoView(session: .preview(photograph: .preview))
}

#Preview("Failed") {
  PhotoView(session: .preview(photograph: .preview, failure: .noProbabilities))
}
