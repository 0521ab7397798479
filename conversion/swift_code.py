"""The Swift code that an app needs to read images with a Core ML file.

It only uses Apple's frameworks: Vision and Core ML rotate, crop and scale an image as the file's metadata say. Their
resampling differs from that in training; for exactly the same pixels, use the package `ios/DigitKit` and
`guesses(pixels:)`. `ios/check types` compiles the generated code against stubs of Apple's signatures.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from conversion import runtime
from conversion.runtime import Interface, NotCheckable
from conversion.runtime.reading import form_of
from conversion.verification.threshold import threshold_in

VISION_OPTIONS = {"crop": "centerCrop", "squash": "scaleFill", "pad": "scaleFill"}  # padded before
FIT_TEXTS = {
    "crop": "its centre is cut out in the model's proportions",
    "squash": "it is stretched to the model's proportions",
    "pad": "it is kept whole, and the background fills the rest",
}
UNNAMED = "Model"
SUFFIXES = (".zip", ".mlmodel", ".mlpackage")

CODE = """\
// Reads images with {file}: {width}x{height} pixels, {colors}, {count} labels.
//
// Made by `python -m conversion.swift`, yours to change. Add this file and the model to your app's target.
import CoreGraphics
import CoreML
import CoreVideo
import Foundation
import ImageIO
import Vision

/// A label and the model's confidence in it, from 0 to 1.
struct {name}Guess: Sendable {{
  let label: String
  let confidence: Double
}}

enum {name}Error: Error {{
  /// The app's bundle has no model with this name.
  case noModel
  /// The image cannot be given to the model.
  case noImage
  /// The model does not return confidences by label.
  case noConfidences
}}

/// The loaded model. What the methods return is sorted, the most confident guess first.
actor {name}Reader {{
  /// In the order of the model's own list.
  static let labels = {labels}
  /// Pixels of the image that the model takes.
  static let width = {width}
  static let height = {height}
  /// {threshold_text}
  static let threshold = {threshold}

  private let model: MLModel
  private let vision: VNCoreMLModel

  /// Loads the model that Xcode has compiled into the app.
  static func load(computeUnits: MLComputeUnits = .all) async throws -> {name}Reader {{
    guard let url = Bundle.main.url(forResource: {resource}, withExtension: "mlmodelc") else {{
      throw {name}Error.noModel
    }}
    let configuration = MLModelConfiguration()
    configuration.computeUnits = computeUnits
    return try {name}Reader(model: try await MLModel.load(contentsOf: url, configuration: configuration))
  }}

  private init(model: sending MLModel) throws {{
    vision = try VNCoreMLModel(for: model)
    self.model = model
  }}

  /// The best guess if the model is sure enough; nil means "I do not know".
  static func answer(_ guesses: [{name}Guess]) -> {name}Guess? {{
    guesses.first.flatMap {{ $0.confidence >= threshold ? $0 : nil }}
  }}

  /// Asks through Vision. An image of any size: {fit}.
  func guessesThroughVision(
    _ image: CGImage, orientation: CGImagePropertyOrientation = .up
  ) throws -> [{name}Guess] {{
    let request = VNCoreMLRequest(model: vision)
    request.imageCropAndScaleOption = .{option}
    let prepared = try Self.prepared(image, orientation: orientation)
    try VNImageRequestHandler(cgImage: prepared, orientation: orientation, options: [:]).perform([request])
    guard let found = request.results as? [VNClassificationObservation] else {{
      throw {name}Error.noConfidences
    }}
    return Self.sorted(found.map {{ {name}Guess(label: $0.identifier, confidence: Double($0.confidence)) }})
  }}

  /// Asks Core ML, without Vision. An image of any size: {fit}.
  func guessesThroughCoreML(
    _ image: CGImage, orientation: CGImagePropertyOrientation = .up
  ) throws -> [{name}Guess] {{
    guard let constraint = model.modelDescription.inputDescriptionsByName[{input}]?.imageConstraint else {{
      throw {name}Error.noImage
    }}
    let value = try MLFeatureValue(
      cgImage: try Self.prepared(image, orientation: orientation), orientation: orientation, constraint: constraint,
      options: [.cropAndScale: VNImageCropAndScaleOption.{option}.rawValue])
    return try guesses(of: value)
  }}

  /// Asks Core ML with exactly the pixels that the model was trained on, row by row, {channels_text}.
  ///
  /// {pixels_text}
  func guesses(pixels: [UInt8]) throws -> [{name}Guess] {{
    guard pixels.count == Self.width * Self.height * {channels} else {{
      throw {name}Error.noImage
    }}
    var made: CVPixelBuffer?
    let code = CVPixelBufferCreate(
      kCFAllocatorDefault, Self.width, Self.height, {format}, nil, &made)
    guard code == kCVReturnSuccess, let buffer = made,
      CVPixelBufferLockBaseAddress(buffer, []) == kCVReturnSuccess,
      let base = CVPixelBufferGetBaseAddress(buffer)
    else {{
      throw {name}Error.noImage
    }}
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for row in 0..<Self.height {{
      for column in 0..<Self.width {{
        let pixel = row * Self.width + column
{store}
      }}
    }}
    CVPixelBufferUnlockBaseAddress(buffer, [])
    return try guesses(of: MLFeatureValue(pixelBuffer: buffer))
  }}

  private func guesses(of value: MLFeatureValue) throws -> [{name}Guess] {{
    let output = try model.prediction(from: try MLDictionaryFeatureProvider(dictionary: [{input}: value]))
    guard let found = output.featureValue(for: {output})?.dictionaryValue else {{
      throw {name}Error.noConfidences
    }}
    return Self.sorted(found.map {{ {name}Guess(label: "\\($0.key)", confidence: $0.value.doubleValue) }})
  }}

  private static func sorted(_ guesses: [{name}Guess]) -> [{name}Guess] {{
    guesses.sorted {{ $0.confidence > $1.confidence }}
  }}

  /// The image on the model's background, {prepared_text}.
  private static func prepared(
    _ image: CGImage, orientation: CGImagePropertyOrientation
  ) throws -> CGImage {{
{canvas}
    guard let space = CGColorSpace(name: CGColorSpace.sRGB),
      let context = CGContext(
        data: nil, width: canvasWidth, height: canvasHeight, bitsPerComponent: 8, bytesPerRow: 0, space: space,
        bitmapInfo: CGImageAlphaInfo.premultipliedLast.rawValue)
    else {{
      throw {name}Error.noImage
    }}
    context.setFillColor(red: {red}, green: {green}, blue: {blue}, alpha: 1)
    context.fill(CGRect(x: 0, y: 0, width: canvasWidth, height: canvasHeight))
    let (left, bottom) = ((canvasWidth - image.width) / 2, (canvasHeight - image.height) / 2)
    context.draw(image, in: CGRect(x: left, y: bottom, width: image.width, height: image.height))
    guard let prepared = context.makeImage() else {{
      throw {name}Error.noImage
    }}
    return prepared
  }}
}}
"""

WHOLE_CANVAS = """\
    let (canvasWidth, canvasHeight) = (image.width, image.height)"""
PADDED_CANVAS = """\
    // The margins are in the stored picture, which may be on its side.
    let isOnItsSide = [.left, .leftMirrored, .right, .rightMirrored].contains(orientation)
    let (wide, high) = isOnItsSide ? (Self.height, Self.width) : (Self.width, Self.height)
    let canvasWidth = max(image.width, (image.height * wide + high / 2) / high)
    let canvasHeight = max(image.height, (image.width * high + wide / 2) / wide)"""
STORE_GRAY = """\
        base.storeBytes(of: pixels[pixel], toByteOffset: row * stride + column, as: UInt8.self)"""
STORE_COLOR = """\
        for (place, value) in [pixels[pixel * 3 + 2], pixels[pixel * 3 + 1], pixels[pixel * 3], 255].enumerated() {
          base.storeBytes(of: value, toByteOffset: row * stride + column * 4 + place, as: UInt8.self)
        }"""
DRAWN = """\
Of strokes the package DigitKit makes them: `Preprocessing.render(strokes, pad: side).pixels`."""
PHOTOGRAPHED = """\
Of a photograph the package DigitKit makes them, `Photograph.fitted(to:colors:fit:background:)`; Apple's scaling above
  /// is close to it, not equal."""


@dataclass(frozen=True)
class SwiftCode:
    """The Swift code for one file."""

    file: str
    type: str  # the actor's name
    swift: str

    def as_json(self) -> dict[str, object]:
        return dict(vars(self))


def swift_code(path: Path) -> SwiftCode:
    """Write the Swift code that reads images with a file.

    Raises:
        CorruptModel: if the file is damaged, or not a Core ML file.
        NotCheckable: if it is not an image classifier that can be executed here.
    """
    interface = runtime.load(path).interface
    if interface.input.is_array:
        raise NotCheckable(
            f"{path}: takes {interface.input.text} instead of an image: docs/own-app.md shows how an app fills it."
        )
    stem = _stem(path)
    name = type_name(stem)
    form = form_of(interface)
    image, threshold = interface.input, threshold_in(interface.metadata.user_defined)
    gray = image.channels == 1
    padded = form.fit == "pad"
    red, green, blue = (f"{value / 255:.6g}" for value in form.color)
    text = CODE.format(
        file=_comment(path.name),
        name=name,
        resource=literal(stem),
        width=image.width,
        height=image.height,
        colors="gray" if gray else "RGB",
        count=len(interface.labels),
        labels=_list(interface),
        threshold=f"{threshold:.4f}" if threshold else "0.0",
        threshold_text='Below this confidence the answer is "I do not know": measured by the promotion.'
        if threshold
        else "Every guess is an answer: the file names no threshold.",
        fit=FIT_TEXTS[form.fit],
        option=VISION_OPTIONS[form.fit],
        input=literal(image.name),
        output=literal(interface.probabilities_name),
        channels=image.channels,
        channels_text="a byte each" if gray else "red, green and blue each",
        pixels_text=DRAWN if _is_drawn(interface) else PHOTOGRAPHED,
        format="kCVPixelFormatType_OneComponent8" if gray else "kCVPixelFormatType_32BGRA",
        store=STORE_GRAY if gray else STORE_COLOR,
        prepared_text="with margins in the model's proportions" if padded else "which shows where it is transparent",
        canvas=PADDED_CANVAS if padded else WHOLE_CANVAS,
        red=red,
        green=green,
        blue=blue,
    )
    return SwiftCode(str(path), f"{name}Reader", text)


def type_name(stem: str) -> str:
    """Return a name for a Swift type, made from a file's name.

    >>> type_name("DigitClassifier"), type_name("my-photos 64x64"), type_name("3 kinds"), type_name("картинки")
    ('DigitClassifier', 'MyPhotos64x64', 'Model3Kinds', 'Model')
    """
    words = re.findall("[A-Za-z0-9]+", stem)
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return name if name[:1].isalpha() else UNNAMED + name


def literal(text: str) -> str:
    r"""Return a string literal of Swift.

    >>> print(literal('say "hi" \\ é'), literal("a\nb\x07"))
    "say \"hi\" \\ é" "a\nb\u{7}"
    """
    named = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return f'"{"".join(named.get(one) or _character(one) for one in text)}"'


def _character(one: str) -> str:
    return one if one.isprintable() else f"\\u{{{ord(one):x}}}"


def _stem(path: Path) -> str:
    """Return a file's name without its suffixes: the name of its compiled form in the app."""
    name = path.name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _list(interface: Interface) -> str:
    """Return the labels as a Swift array of strings, one per line if there are many."""
    texts = [literal(str(label)) for label in interface.labels]
    short = f"[{', '.join(texts)}]"
    return short if len(short) <= 80 else "[\n" + "".join(f"    {text},\n" for text in texts) + "  ]"


def _is_drawn(interface: Interface) -> bool:
    """Return whether the app shows a drawing pad for this file instead of taking photographs."""
    image = interface.input
    return (image.width, image.height, image.channels) == (28, 28, 1) and set(interface.labels) == set("0123456789")


def _comment(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
