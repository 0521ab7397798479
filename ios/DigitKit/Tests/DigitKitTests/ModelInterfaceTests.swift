import DigitKit
import Testing

struct ModelInterfaceTests {
  private func description(
    inputs: Int = 1, side: Int? = 28, colors: ModelInterface.Colors? = .gray, probabilities: String? = "output",
    labels: [String]? = ModelInterface.digits.sorted()
  ) -> ModelDescription {
    let size = side.map { ImageSize(width: $0, height: $0) }
    let input = ModelDescription.Input(name: "image", size: size, colors: colors)
    return ModelDescription(
      inputs: Array(repeating: input, count: inputs), probabilities: probabilities, labels: labels)
  }

  @Test func digitsAreDrawnAndTheRestIsPhotographed() throws {
    let digits = try ModelInterface(description())
    #expect(digits.mode == .drawing)
    #expect(digits.image == "image")
    #expect(digits.probabilities == "output")
    let others = [
      description(side: 32), description(colors: .rgb), description(labels: ["Bag", "Boot"]),
      description(labels: ModelInterface.digits.sorted() + ["none"]),
    ]
    for other in others {
      #expect(try ModelInterface(other).mode == .photographs)
    }
  }

  @Test func whatTheScreensNeed() {
    let problems: [(ModelDescription, ModelProblem)] = [
      (description(inputs: 0), .inputs(0)), (description(inputs: 2), .inputs(2)),
      (description(side: nil), .notAnImage("image")), (description(side: 0), .notAnImage("image")),
      (description(colors: nil), .pixelFormat("image")), (description(probabilities: nil), .noProbabilities),
      (description(labels: nil), .labels), (description(labels: ["cat"]), .labels),
    ]
    for (description, problem) in problems {
      #expect(throws: problem) { try ModelInterface(description) }
    }
  }
}
