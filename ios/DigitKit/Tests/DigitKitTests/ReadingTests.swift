import DigitKit
import Testing

struct ReadingTests {
  @Test func theThreeBestInOrder() {
    let reading = Reading(confidences: ["7": 0.9, "1": 0.05, "9": 0.03, "4": 0.02], threshold: nil)
    #expect(reading.best.map(\.label) == ["7", "1", "9"])
    #expect(reading.answer == Guess(label: "7", confidence: 0.9))
  }

  @Test func equalsAreInTheOrderOfTheirLabels() {
    let reading = Reading(confidences: ["9": 0.25, "4": 0.25, "7": 0.25, "1": 0.25], threshold: nil)
    #expect(reading.best.map(\.label) == ["1", "4", "7"])
  }

  @Test func belowTheThresholdItDoesNotKnow() {
    let confidences = ["4": 0.59, "9": 0.4, "7": 0.01]
    #expect(Reading(confidences: confidences, threshold: Reading.threshold).answer == nil)
    #expect(Reading(confidences: confidences, threshold: 0.59).answer?.label == "4")
    #expect(Reading(confidences: confidences, threshold: nil).answer?.label == "4")
  }

  @Test func nothingAndNotANumber() {
    #expect(Reading(confidences: [:], threshold: nil).answer == nil)
    let reading = Reading(confidences: ["1": .nan, "2": 0.7], threshold: 0.5)
    #expect(reading.best == [Guess(label: "2", confidence: 0.7), Guess(label: "1", confidence: 0)])
  }
}
