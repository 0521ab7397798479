import DigitKit
import Testing

/// Counts what it is asked; waits until the test lets it answer, where it is told to.
private actor CountingReader: ImageReader {
  private(set) var asked = 0
  private var failure: ModelProblem?
  private var gate: CheckedContinuation<Void, Never>?
  private var arrived: CheckedContinuation<Void, Never>?
  private let waits: Bool

  init(waits: Bool = false, failure: ModelProblem? = nil) {
    self.waits = waits
    self.failure = failure
  }

  func read(_ image: PixelImage, by path: ReaderPath) async throws -> [String: Double] {
    asked += 1
    if waits, asked == 1 {
      arrived?.resume()
      await withCheckedContinuation { gate = $0 }
    }
    if let failure {
      throw failure
    }
    return path == .vision ? ["1": 0.9, "7": 0.1] : ["1": 0.1, "7": 0.55]
  }

  /// Returns when the first question waits for its answer.
  func firstQuestion() async {
    if gate == nil {
      await withCheckedContinuation { arrived = $0 }
    }
  }

  func letGo() {
    gate?.resume()
  }
}

private struct Loader: ModelLoader {
  var metadata: [String: String]? = ["run_id": "3f", "preprocessing_version": "1"]
  var side = 28
  var labels = ModelInterface.digits.sorted()
  var reader = CountingReader()

  func load() async throws -> LoadedModel? {
    try model()
  }

  func model() throws -> LoadedModel? {
    let input = ModelDescription.Input(name: "image", size: ImageSize(width: side, height: side), colors: .gray)
    let description = ModelDescription(inputs: [input], probabilities: "output", labels: labels)
    return try metadata.map {
      LoadedModel(facts: try ModelFacts(metadata: $0), interface: try ModelInterface(description), reader: reader)
    }
  }
}

@MainActor
struct SessionTests {
  @Test func withoutAModel() async {
    let session = Session(loader: Loader(metadata: nil))
    await session.load()
    guard case .missing = session.phase else {
      Issue.record("\(session.phase)")
      return
    }
  }

  @Test func whatCannotBeUsedIsRefused() async {
    let refused: [(Loader, ModelProblem)] = [
      (Loader(metadata: ["preprocessing_version": "0"]), .preprocessing("0")),
      (Loader(metadata: [:]), .noPreprocessing),
      (Loader(labels: ["1"]), .labels),
      (Loader(metadata: ["fit": "zoom"]), .fit("zoom")),
    ]
    for (loader, problem) in refused {
      let session = Session(loader: loader)
      await session.load()
      guard case .refused(let error) = session.phase else {
        Issue.record("\(session.phase)")
        return
      }
      #expect(error as? ModelProblem == problem)
    }
  }

  @Test func digitsGoToThePadAndTheRestToThePhotographs() async {
    let digits = Session(loader: Loader())
    await digits.load()
    guard case .drawing = digits.phase else {
      Issue.record("\(digits.phase)")
      return
    }
    let clothes = Session(loader: Loader(metadata: [:], labels: ["Bag", "Boot"]))
    await clothes.load()
    guard case .photographs = clothes.phase else {
      Issue.record("\(clothes.phase)")
      return
    }
  }
}

@MainActor
struct DrawingSessionTests {
  private func session(_ reader: CountingReader = CountingReader(), threshold: String? = nil) throws -> DrawingSession {
    var metadata = ["preprocessing_version": "1"]
    metadata["threshold"] = threshold
    return DrawingSession(model: try #require(try Loader(metadata: metadata, reader: reader).model()))
  }

  private func drawALine(in session: DrawingSession) {
    for share in [0.1, 0.3, 0.5, 0.7, 0.9] {
      session.touch(PadPoint(x: 0.5, y: share))
    }
    session.lift()
  }

  @Test func aLiftIsReadOnce() async throws {
    let reader = CountingReader()
    let session = try session(reader)
    #expect(await session.predict() == nil)
    drawALine(in: session)
    session.lift()
    #expect(await session.predict()?.answer?.label == "1")
    #expect(await session.predict()?.answer?.label == "1")
    #expect(session.reading?.answer?.label == "1")
    #expect(session.image != DigitImage())
    #expect(await reader.asked == 1)
    drawALine(in: session)
    _ = await session.predict()
    #expect(await reader.asked == 2)
    #expect(session.drawing.strokes.count == 2)
  }

  @Test func undoReadsWhatIsLeftAndClearNothing() async throws {
    let reader = CountingReader()
    let session = try session(reader)
    drawALine(in: session)
    drawALine(in: session)
    _ = await session.predict()
    session.undo()
    #expect(await session.predict() != nil)
    #expect(session.drawing.strokes.count == 1)
    session.clear()
    #expect(await session.predict() == nil)
    #expect(session.reading == nil)
    #expect(session.image == DigitImage())
  }

  @Test func anAnswerToAnOlderDrawingIsNotShown() async throws {
    let reader = CountingReader(waits: true, failure: .labels)
    let session = try session(reader)
    drawALine(in: session)
    await reader.firstQuestion()
    session.clear()
    await reader.letGo()
    drawALine(in: session)
    session.clear()
    #expect(session.failure == nil)
    #expect(session.drawing.isEmpty)
  }

  @Test func aFailureIsTold() async throws {
    let session = try session(CountingReader(failure: .labels))
    drawALine(in: session)
    #expect(await session.predict() == nil)
    #expect(session.failure as? ModelProblem == .labels)
  }

  @Test func theOtherWayAndTheThreshold() async throws {
    let reader = CountingReader()
    let unsure = try session(reader)
    drawALine(in: unsure)
    _ = await unsure.predict()
    unsure.path = .direct
    let reading = await unsure.predict()
    #expect(reading?.best.first?.label == "7")
    #expect(reading?.answer == nil)
    #expect(await reader.asked == 2)
    let told = try session(threshold: "0.5")
    told.path = .direct
    drawALine(in: told)
    #expect(await told.predict()?.answer?.label == "7")
  }
}

@MainActor
struct PhotoSessionTests {
  private let photograph = Photograph(
    image: PixelImage(width: 2, height: 1, channels: 3, pixels: [255, 0, 0, 0, 0, 255]))

  private func session(_ reader: CountingReader, metadata: [String: String] = [:]) throws -> PhotoSession {
    let loader = Loader(metadata: metadata, side: 4, labels: ["1", "7"], reader: reader)
    return PhotoSession(model: try #require(try loader.model()))
  }

  @Test func aPhotographIsFittedAndRead() async throws {
    let session = try session(CountingReader(), metadata: ["fit": "pad"])
    await session.read(photograph)
    #expect(session.seen?.width == 4)
    #expect(session.seen?.channels == 1)
    #expect(session.seen?.pixels.prefix(4) == [255, 255, 255, 255])  // white above the picture
    #expect(session.reading?.answer?.label == "1")
  }

  @Test func withoutAThresholdEveryGuessIsAnAnswer() async throws {
    let silent = try session(CountingReader())
    silent.path = .direct
    await silent.read(photograph)
    #expect(silent.reading?.answer?.label == "7")
    let strict = try session(CountingReader(), metadata: ["threshold": "0.9"])
    strict.path = .direct
    await strict.read(photograph)
    #expect(strict.reading?.answer == nil)
    #expect(strict.reading?.best.count == 2)
  }

  @Test func aLateAnswerDoesNotReplaceANewerOne() async throws {
    let reader = CountingReader(waits: true)
    let session = try session(reader)
    let first = Task { await session.read(photograph) }
    await reader.firstQuestion()
    session.path = .direct
    await session.read(photograph)
    await reader.letGo()
    #expect(await !first.value)
    #expect(session.reading?.best.first?.label == "7")
  }

  /// As of one that iCloud takes long to give, while another is chosen.
  @Test func aPhotographThatComesLateDoesNotReplaceANewerOne() async throws {
    let session = try session(CountingReader())
    let isShown = await session.read(loading: {
      session.path = .direct
      await session.read(photograph)
      session.path = .vision
      return photograph
    })
    #expect(!isShown)
    #expect(session.reading?.best.first?.label == "7")
    let isFailureShown = await session.read(loading: {
      await session.read(photograph)
      throw ModelProblem.noProbabilities
    })
    #expect(!isFailureShown)
    #expect(session.failure == nil)
  }

  @Test func aFailureIsTold() async throws {
    let session = try session(CountingReader(failure: .labels))
    #expect(await session.read(photograph))
    #expect(session.failure as? ModelProblem == .labels)
    #expect(session.seen == nil)
    #expect(await session.read(loading: { throw ModelProblem.noProbabilities }))
    #expect(session.failure as? ModelProblem == .noProbabilities)
  }
}
