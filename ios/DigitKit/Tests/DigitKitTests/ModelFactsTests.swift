import DigitKit
import Testing

struct ModelFactsTests {
  private let metadata = [
    "run_id": "386bbbe67d4f4084ba1ad7800d80c65e", "architecture": "chollet", "dataset": "mnist5k",
    "val_accuracy": "0.9780", "preprocessing_version": "1",
    "com.github.apple.coremltools.conversion_date": "2026-11-23",
  ]

  @Test func aPromotedModel() throws {
    let facts = try ModelFacts(metadata: metadata, license: "MIT", bytes: 380_278)
    #expect(facts.drawingProblem == nil)
    #expect(facts.runID == "386bbbe67d4f4084ba1ad7800d80c65e")
    #expect(facts.validationAccuracy == 0.978)
    #expect(facts.bytes == 380_278)
    #expect(facts.date == "2026-11-23")
  }

  @Test func anotherPreprocessingIsRefused() throws {
    let other = try ModelFacts(metadata: metadata.merging(["preprocessing_version": "2"]) { $1 })
    #expect(other.drawingProblem == .preprocessing("2"))
    let silent = try ModelFacts(metadata: metadata.filter { $0.key != "preprocessing_version" })
    #expect(silent.drawingProblem == .noPreprocessing)
  }

  @Test func fitAndThreshold() throws {
    let silent = try ModelFacts(metadata: metadata)
    #expect(silent.fit == .crop)
    #expect(silent.threshold == nil)
    let told = try ModelFacts(metadata: ["fit": "pad", "threshold": "0.4375"])
    #expect(told.fit == .pad)
    #expect(told.threshold == 0.4375)
    #expect(throws: ModelProblem.fit("letterbox")) { try ModelFacts(metadata: ["fit": "letterbox"]) }
    #expect(try ModelFacts(metadata: [:]).background == .white)
    #expect(
      try ModelFacts(metadata: ["background": "1e90ff"]).background == Background(red: 30, green: 144, blue: 255))
    for text in ["sky", "+12345", "12345", "1234567"] {
      #expect(throws: ModelProblem.background(text)) { try ModelFacts(metadata: ["background": text]) }
    }
    for text in ["", "high", "1.5", "-0.1", "nan"] {
      #expect(throws: ModelProblem.threshold(text)) { try ModelFacts(metadata: ["threshold": text]) }
    }
  }
}
