"""Describe what a Core ML file contains, from its protobuf message: the file is not run, and need not be executable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from conversion.runtime import CorruptModel, Metadata, NotCheckable, mlprogram
from conversion.runtime.archives import extracted
from conversion.runtime.limits import Unsupported
from conversion.runtime.mil_ops import CONSTANT_EXPRESSIONS, OPS
from conversion.runtime.mil_values import constant
from conversion.runtime.model_file import content_of, metadata, parse_model
from conversion.runtime.nn_layers import LAYERS
from conversion.runtime.package import Package, is_package
from conversion.runtime.parts import Part, parts_of
from conversion.runtime.stages import EXECUTED
from conversion.runtime.weight_references import check_weights, operations

LARGEST = 2**31  # bytes of a protobuf message: the format's own limit
IOS_OF_ANY_SPECIFICATION = {1: "11", 2: "11.2", 3: "12", 4: "13", 5: "14", 6: "15", 7: "16", 8: "17", 9: "18", 10: "26"}
NETWORKS = ("neuralNetworkClassifier", "neuralNetwork", "neuralNetworkRegressor")
PROGRAM = ("const", "classify")  # operations of a program that do not compute
APPLES = {"visionFeaturePrint", "audioFeaturePrint", "soundAnalysisPreprocessing", "textClassifier", "wordTagger"}


@dataclass(frozen=True)
class DescribedFeature:
    """An input or an output."""

    name: str
    type: str  # "image 28x28 GRAYSCALE", "array FLOAT32 1x28x28"
    description: str


@dataclass(frozen=True)
class Scaling:
    """The scaling of an image before the file's first layer: pixel * scale + bias."""

    input: str
    scale: float
    bias: tuple[float, ...]  # one per channel, in the order of the input's colour

    @property
    def text(self) -> str:
        """The formula as text.

        >>> [Scaling("x", scale, bias).text for scale, bias in ((0.5, (0.0, 0.0)), (2.0, (-1.0,)), (1.0, (-1.0, 2.0)))]
        ['pixel * 0.5', 'pixel * 2 - 1', 'pixel * 1 + (-1, 2)']
        """
        told = f"pixel * {self.scale:g}"
        if not any(self.bias):
            return told
        if len(set(self.bias)) == 1:
            return f"{told} {'-' if self.bias[0] < 0 else '+'} {abs(self.bias[0]):g}"
        return f"{told} + ({', '.join(f'{bias:g}' for bias in self.bias)})"


@dataclass(frozen=True)
class Description:
    """Everything that a file states, and the use of all its bytes."""

    file: str
    kind: str  # of its model, as named in the format: neuralNetworkClassifier, mlProgram, pipelineClassifier
    specification_version: int
    minimum_ios: str | None  # None for an unknown specification version
    size_bytes: int  # of the file, or of all files of the package
    inputs: tuple[DescribedFeature, ...]
    outputs: tuple[DescribedFeature, ...]
    labels: tuple[str, ...] | tuple[int, ...]
    scalings: tuple[Scaling, ...]
    metadata: Metadata
    weights: int
    storage: tuple[str, ...]  # of the weights: "float16", "8 bits, table"
    parts: tuple[Part, ...]  # the largest first; their bytes add up to the file's
    not_executable: tuple[str, ...]  # reasons why it cannot be executed here; empty: none were found

    @property
    def metadata_texts(self) -> dict[str, str]:
        """The metadata that are not empty, by key."""
        stored = self.metadata
        named = {name: getattr(stored, name) for name in ("author", "license", "description", "version")}
        return {name: text for name, text in {**named, **stored.user_defined}.items() if text}

    def as_json(self) -> dict[str, object]:
        """Return everything as a JSON-ready object."""
        fields = {name: value for name, value in vars(self).items() if name not in ("metadata", "parts")}
        told = {name: _plain(value) for name, value in vars(self.metadata).items()}
        return {
            **{name: _plain(value) for name, value in fields.items()},
            "metadata": told,
            "parts": _plain(self.parts),
        }


def describe(path: Path) -> Description:
    """Read what a file contains, without running anything.

    Raises:
        CorruptModel: if it is damaged, or not a Core ML file.
        NotCheckable: if it is too large.
    """
    source = str(path)
    with extracted(path) as place:
        package = Package(place, source=source) if is_package(place) else None
        content = package.model if package else content_of(place, source=source, most=LARGEST)
        model, unknown = parse_model(content, source)
        size_bytes = package.size_bytes if package else len(content)
        parts = parts_of(content, model.DESCRIPTOR, package, size_bytes)
        reasons = [f"{unknown} has a field that this version does not know"] if unknown else []
        reasons += _reasons(model, package, source)
    described = model.description
    return Description(
        file=source,
        kind=model.WhichOneof("Type"),
        specification_version=model.specificationVersion,
        minimum_ios=IOS_OF_ANY_SPECIFICATION.get(model.specificationVersion),
        size_bytes=size_bytes,
        inputs=tuple(map(_feature, described.input)),
        outputs=tuple(map(_feature, described.output)),
        labels=_labels(model),
        scalings=tuple(_scalings(model)),
        metadata=metadata(described),
        weights=sum(part.weights for part in parts),
        storage=tuple(sorted({storage for part in parts for storage in part.storage})),
        parts=parts,
        not_executable=tuple(dict.fromkeys(reasons)),
    )


def differences(one: Description, other: Description) -> list[tuple[str, str, str]]:
    """Return the differences between two files: the name of each item, and its value in both."""
    found = []
    ours, theirs = _facts(one), _facts(other)
    for name in dict.fromkeys([*ours, *theirs]):
        values = ours.get(name, "-"), theirs.get(name, "-")
        if values[0] != values[1]:
            found.append((name, *values))
    return found


def _facts(described: Description) -> dict[str, str]:
    """Return everything in which two files may differ, by name."""
    facts = {
        "model": described.kind,
        "specification": str(described.specification_version),
        "bytes": f"{described.size_bytes:,}",
        "weights": f"{described.weights:,}",
        "stored as": " and ".join(described.storage),
        "labels": ", ".join(map(str, described.labels)),
    }
    facts |= {f"input {one.name}": _told(one) for one in described.inputs}
    facts |= {f"output {one.name}": _told(one) for one in described.outputs}
    facts |= {f"scaling of {one.input}": f"{one.scale:g} {one.bias}" for one in described.scalings}
    facts |= {f"metadata {name}": value for name, value in described.metadata_texts.items()}
    seen: Counter[str] = Counter()
    for part in described.parts:
        seen[part.name] += 1
        name = part.name if seen[part.name] == 1 else f"{part.name} [{seen[part.name]}]"
        stored = f", {part.weights:,} weights, {' and '.join(part.storage)}" if part.weights else ""
        content = f", content {part.digest[:8]}" if part.digest else ""
        facts[f"layer {name}"] = f"{part.kind}, {part.bytes:,} bytes{stored}{content}"
    return facts


def _told(feature: DescribedFeature) -> str:
    return f"{feature.type}: {feature.description}" if feature.description else feature.type


def _feature(stored: Any) -> DescribedFeature:
    kind = stored.type.WhichOneof("Type")
    text = {"imageType": _image, "multiArrayType": _array}.get(kind, lambda _: str(kind).removesuffix("Type"))
    optional = ", optional" if stored.type.isOptional else ""
    return DescribedFeature(
        stored.name, f"{text(getattr(stored.type, kind) if kind else None)}{optional}", stored.shortDescription
    )


def _image(stored: Any) -> str:
    size = f"image {stored.height}x{stored.width} {_name_of(stored, 'colorSpace')}"
    if stored.WhichOneof("SizeFlexibility") == "enumeratedSizes":
        return f"{size}, or {', '.join(f'{one.height}x{one.width}' for one in stored.enumeratedSizes.sizes)}"
    if stored.WhichOneof("SizeFlexibility"):
        sizes = stored.imageSizeRange
        return f"{size}, or {_range(sizes.heightRange)} by {_range(sizes.widthRange)}"
    return size


def _array(stored: Any) -> str:
    size = f"array {_name_of(stored, 'dataType')} {'x'.join(map(str, stored.shape)) or 'of no stated shape'}"
    if stored.WhichOneof("ShapeFlexibility") == "enumeratedShapes":
        return f"{size}, or {', '.join('x'.join(map(str, one.shape)) for one in stored.enumeratedShapes.shapes)}"
    if stored.WhichOneof("ShapeFlexibility"):
        return f"{size}, or {' by '.join(map(_range, stored.shapeRange.sizeRanges))}"
    return size


def _range(stored: Any) -> str:
    if stored.lowerBound == stored.upperBound:
        return str(stored.lowerBound)
    return f"{stored.lowerBound}-{'any' if stored.upperBound < 0 else stored.upperBound}"


def _name_of(stored: Any, field: str) -> str:
    names = stored.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    value = getattr(stored, field)
    return str(names[value].name) if value in names else str(value)


def _inner(model: Any) -> list[Any]:
    """Return the models of a pipeline."""
    kind = model.WhichOneof("Type")
    if kind not in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        return []
    stored = getattr(model, kind)
    return list((stored if kind == "pipeline" else stored.pipeline).models)


def _labels(model: Any) -> tuple[str, ...] | tuple[int, ...]:
    kind = model.WhichOneof("Type")
    if kind is None:  # an empty stage of a pipeline
        return ()
    stored = getattr(model, kind)
    if "ClassLabels" in stored.DESCRIPTOR.oneofs_by_name and stored.WhichOneof("ClassLabels"):
        return tuple(getattr(stored, stored.WhichOneof("ClassLabels")).vector)
    if kind == mlprogram.KIND:
        return _labels_of_program(stored)
    return next((found for inner in reversed(_inner(model)) if (found := _labels(inner))), ())


def _labels_of_program(program: Any) -> tuple[str, ...] | tuple[int, ...]:
    lists: dict[str, Any] = {}
    for operation in operations(program):
        if operation.type == "const" and operation.attributes["val"].type.WhichOneof("type") == "listType":
            lists |= {output.name: operation.attributes["val"] for output in operation.outputs}
        if operation.type == "classify":
            try:
                (classes,) = operation.inputs["classes"].arguments
                values = constant(_value_of(classes, lists), _no_blob).values
            except (KeyError, Unsupported, ValueError):  # the executors report this
                return ()
            return tuple(values.tolist()) if values.ndim == 1 else ()
    return ()


def _no_blob(*_: object) -> bytes:
    raise Unsupported("it is in a file of weights")


def _scalings(model: Any) -> Iterator[Scaling]:
    kind = model.WhichOneof("Type")
    for inner in _inner(model):
        yield from _scalings(inner)
    if kind == mlprogram.KIND:
        yield from _scalings_of_program(model)
    if kind not in NETWORKS:
        return
    colors = {feature.name: _name_of(feature.type.imageType, "colorSpace") for feature in model.description.input}
    for step in getattr(model, kind).preprocessing:
        if step.HasField("scaler"):
            name = step.featureName or next(iter(colors), "")
            rgb = (step.scaler.redBias, step.scaler.greenBias, step.scaler.blueBias)
            by_color = {"GRAYSCALE": (step.scaler.grayBias,), "BGR": rgb[::-1]}
            bias = by_color.get(colors.get(name, ""), rgb)
            yield Scaling(name, step.scaler.channelScale, bias)


def _scalings_of_program(model: Any) -> Iterator[Scaling]:
    """Yield the leading multiplications and additions of constants, as coremltools writes them for an image."""
    images = [feature.name for feature in model.description.input if feature.type.WhichOneof("Type") == "imageType"]
    constants: dict[str, Any] = {}
    found: dict[str, tuple[float, tuple[float, ...]]] = dict.fromkeys(images, (1.0, (0.0,)))
    behind = {name: name for name in images}  # by value: the image of which it is a scaled version
    for operation in operations(model.mlProgram):
        if operation.type == "const" and len(operation.outputs):
            constants[operation.outputs[0].name] = operation.attributes["val"]
            continue
        reads = {key: each.arguments[0] for key, each in operation.inputs.items() if len(each.arguments) == 1}
        x = reads["x"].name if "x" in reads else ""
        if x not in behind or operation.type not in ("cast", "mul", "add") or not len(operation.outputs):
            continue
        name = behind[x]
        if operation.type != "cast":
            try:
                values = constant(_value_of(reads["y"], constants), _no_blob).values.astype(float).ravel()
            except (KeyError, Unsupported, ValueError):
                continue
            scale, bias = found[name]
            if operation.type == "mul":
                if len(set(values.tolist())) != 1 or bias != (0.0,):
                    continue
                found[name] = scale * float(values[0]), bias
            else:
                found[name] = scale, tuple(values.tolist())
        del behind[x]
        if operation.type != "add":
            behind[operation.outputs[0].name] = name
    yield from (Scaling(name, *scaling) for name, scaling in found.items())


def _value_of(argument: Any, constants: Mapping[str, Any]) -> Any:
    return argument.value if argument.WhichOneof("binding") == "value" else constants[argument.name]


def _reasons(model: Any, package: Package | None, source: str) -> Iterator[str]:
    """Yield why a model cannot run here, as far as this is known without trying."""

    def said(check: Callable[[], object]) -> Iterator[str]:
        try:
            check()
        except (CorruptModel, NotCheckable) as error:
            yield str(error).removeprefix(f"{source}: ").removesuffix(".")

    kind, models = model.WhichOneof("Type"), [model]
    for one in models:
        models += _inner(one)
    if apples := sorted({one.WhichOneof("Type") for one in models} & APPLES):
        yield f"{' and '.join(apples)} is Apple's own network, which the file only names: only Apple's runtime has it"
        return
    for one in models:
        found = one.WhichOneof("Type")
        if found not in EXECUTED:
            yield f"holds a model of the type {found}, which is not supported here"
        if found in NETWORKS:
            yield from _unknown(LAYERS, [layer.WhichOneof("layer") for layer in getattr(one, found).layers], "layer")
    if kind == mlprogram.KIND:
        yield from said(lambda: check_weights(model, package, source))
        if len(model.description.functions):
            yield "has several functions; one can be executed here"
        if len(model.description.state):
            yield "keeps a state between predictions"
        kinds = [operation.type for operation in operations(model.mlProgram)]
        yield from _unknown({*OPS, *CONSTANT_EXPRESSIONS, *PROGRAM}, kinds, "operation")


def _unknown(known: Collection[str], kinds: Sequence[str | None], what: str) -> Iterator[str]:
    for kind, count in Counter(kinds).items():
        if kind not in known:
            yield f"{count:,} {what}{'s' * (count > 1)} of the unknown kind {kind or '(unnamed)'}"


def _plain(value: object) -> object:
    """Convert a value to dictionaries and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(one) for name, one in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
