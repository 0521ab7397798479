"""Deliberately wrong Core ML files, made from a right one: what verification must catch, in both formats.

Each mutation changes one thing in an opened file. `wrong_files` makes all that apply to a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.drafts import Draft, NotApplicable, first

Mutate = Callable[[Draft], None]
MUTATIONS: dict[str, Mutate] = {}


def mutation(function: Mutate) -> Mutate:
    MUTATIONS[function.__name__] = function
    return function


@dataclass(frozen=True)
class Wrong:
    """A wrong file and what is wrong with it."""

    name: str
    path: Path


def wrong_files(right: Path, folder: Path) -> Iterator[Wrong]:
    """All wrong files that can be made from a right one, one after the other.

    Args:
        right: an `.mlmodel` file or `.mlpackage` folder.
        folder: where the wrong ones go.
    """
    for name, mutate in MUTATIONS.items():
        draft = Draft(right)
        try:
            mutate(draft)
        except NotApplicable:
            continue
        yield Wrong(name, draft.save(folder / f"{name}{right.suffix}"))


# The image ---------------------------------------------------------------------------------------------------------


def _set_scale(draft: Draft, factor: float) -> None:
    if draft.is_package:
        value = draft.argument(draft.operation("mul"), "y").immediateValue.tensor
        value.floats.values[:] = [factor * number for number in value.floats.values]
    else:
        scaler = draft.spec.neuralNetworkClassifier.preprocessing[0].scaler
        scaler.channelScale *= factor


@mutation
def scale_of_256(draft: Draft) -> None:
    _set_scale(draft, 255 / 256)


@mutation
def no_scale(draft: Draft) -> None:
    _set_scale(draft, 255)


@mutation
def bias_added(draft: Draft) -> None:
    if not draft.is_package:
        scaler = draft.spec.neuralNetworkClassifier.preprocessing[0].scaler
        scaler.grayBias = scaler.redBias = scaler.greenBias = scaler.blueBias = 0.004
        return
    place = next(i for i, operation in enumerate(draft.operations) if operation.type == "mul")
    value = type(draft.argument(draft.operations[place], "y"))()
    value.CopyFrom(draft.argument(draft.operations[place], "y"))
    value.immediateValue.tensor.floats.values[:] = [0.004]
    addition = _insert_copy(draft, place)
    addition.type = "add"
    addition.inputs["y"].arguments[0].Clear()
    addition.inputs["y"].arguments[0].value.CopyFrom(value)


def _insert_copy(draft: Draft, place: int) -> Any:
    """Repeat an operation behind itself: the copy reads what the first writes, under a new name."""
    operations = list(draft.operations)
    first = operations[place]
    copy = type(first)()
    copy.CopyFrom(first)
    first.outputs[0].name += "_first"
    copy.inputs["x"].arguments[0].name = first.outputs[0].name
    operations.insert(place + 1, copy)
    stored = [type(first).FromString(operation.SerializeToString()) for operation in operations]
    del draft.operations[:]
    draft.operations.extend(stored)
    return draft.operations[place + 1]


@mutation
def other_colour(draft: Draft) -> None:
    draft.image.colorSpace = draft.image.RGB if draft.image.colorSpace == draft.image.GRAYSCALE else draft.image.BGR


@mutation
def height_and_width_swapped(draft: Draft) -> None:
    if draft.image.height == draft.image.width:
        raise NotApplicable
    draft.image.height, draft.image.width = draft.image.width, draft.image.height


@mutation
def red_and_blue_swapped_in_the_kernel(draft: Draft) -> None:
    layer, field, values = draft.tensor(4)
    if values.shape[1] != 3:
        raise NotApplicable
    draft.replace(layer, field, values[:, ::-1])


# Weights -----------------------------------------------------------------------------------------------------------


@mutation
def kernel_zeroed(draft: Draft) -> None:
    layer, field, values = draft.tensor(4)
    draft.replace(layer, field, np.zeros_like(values))


@mutation
def filter_zeroed(draft: Draft) -> None:
    layer, field, values = draft.tensor(4, 1)
    draft.replace(layer, field, np.concatenate([np.zeros_like(values[:1]), values[1:]]))


@mutation
def filters_permuted(draft: Draft) -> None:
    layer, field, values = draft.tensor(4)
    draft.replace(layer, field, np.roll(values, 1, axis=0))


@mutation
def kernel_turned(draft: Draft) -> None:
    """Height and width of each filter swapped."""
    layer, field, values = draft.tensor(4)
    draft.replace(layer, field, values.swapaxes(2, 3))


@mutation
def dense_permuted(draft: Draft) -> None:
    layer, field, values = draft.tensor(2)
    draft.replace(layer, field, np.roll(values, 1, axis=1))


@mutation
def one_weight_nudged(draft: Draft) -> None:
    layer, field, values = draft.tensor(2)
    nudged = values.copy()
    nudged[0, 0] += 0.01
    draft.replace(layer, field, nudged)


@mutation
def bias_dropped(draft: Draft) -> None:
    layer, field, _ = draft.tensor(1)
    if draft.is_package:
        del draft.writer(layer).inputs[field]
    else:
        message = first(message for message in draft.layers if message.name == layer)
        params = getattr(message, message.WhichOneof("layer"))
        params.hasBias = False
        params.ClearField("bias")


@mutation
def bias_truncated(draft: Draft) -> None:
    layer, field, values = draft.tensor(1)
    draft.replace(layer, field, values[:-1])


@mutation
def bias_zeroed(draft: Draft) -> None:
    layer, field, values = draft.tensor(1, 1)
    draft.replace(layer, field, np.zeros_like(values))


@mutation
def vector_scaled(draft: Draft) -> None:
    """What a wrong epsilon or variance of a batch normalization leaves behind."""
    layer, field, values = draft.tensor(1)
    draft.replace(layer, field, values * np.float32(1.001))


@mutation
def table_entry_changed(draft: Draft) -> None:
    if draft.is_package:
        operation = first(o for o in draft.operations if o.type == "constexpr_lut_to_dense")
        start = _data(draft, operation.attributes["lut"]).start
        entry = np.frombuffer(draft.weights, "<f2", 1, start)[0]
        draft.weights[start : start + 2] = np.float16(entry * np.float16(0.9)).tobytes()
        return
    for layer in draft.layers:
        params = getattr(layer, layer.WhichOneof("layer"))
        table = getattr(getattr(params, "weights", None), "quantization", None)
        if table is not None and table.WhichOneof("QuantizationType") == "lookupTableQuantization":
            table.lookupTableQuantization.floatValue[0] *= 0.9
            return
    raise NotApplicable


def _data(draft: Draft, value: Any) -> slice:
    """Where the bytes of a blob lie in the file of weights."""
    if value.WhichOneof("value") != "blobFileValue":
        raise NotApplicable
    header = np.frombuffer(draft.weights, "<u8", 3, value.blobFileValue.offset)
    return slice(int(header[2]), int(header[2] + header[1]))


def _blobs(draft: Draft) -> list[Any]:
    values = [value for operation in draft.operations for value in operation.attributes.values()]
    return [value for value in values if value.WhichOneof("value") == "blobFileValue"]


def _flip(draft: Draft, share: float) -> None:
    """Flip the bits of one byte of the largest tensor, at a share of its length."""
    if draft.is_package:
        places = max((_data(draft, value) for value in _blobs(draft)), key=lambda place: place.stop - place.start)
        draft.weights[int(places.start + share * (places.stop - places.start - 1))] ^= 0xFF
        return
    stored = max(
        (draft.stored(layer, field) for layer, fields in draft.executable.weights.items() for field in fields),
        key=lambda message: message.ByteSize(),
    )
    for kind in ("float16Value", "rawValue"):
        content = bytearray(getattr(stored, kind))
        if content:
            content[int(share * (len(content) - 1))] ^= 0xFF
            setattr(stored, kind, bytes(content))
            return
    values = np.array(stored.floatValue, "<f4").view(np.uint8)
    values[int(share * (len(values) - 1))] ^= 0xFF
    stored.floatValue[:] = values.view("<f4")


@mutation
def first_byte_flipped(draft: Draft) -> None:
    _flip(draft, 0.0)


@mutation
def middle_byte_flipped(draft: Draft) -> None:
    _flip(draft, 0.5)


@mutation
def late_byte_flipped(draft: Draft) -> None:
    _flip(draft, 0.87)


@mutation
def last_byte_flipped(draft: Draft) -> None:
    _flip(draft, 1.0)


@mutation
def weights_of_another_tensor(draft: Draft) -> None:
    if draft.is_package:
        first, second = _blobs(draft)[:2]
        first.blobFileValue.offset = second.blobFileValue.offset
    else:
        layer, field, _ = draft.tensor(1)
        other, its_field, values = draft.tensor(1, 1)
        draft.stored(layer, field).CopyFrom(draft.stored(other, its_field))
        assert values is not None


# The network -------------------------------------------------------------------------------------------------------


def _disable(draft: Draft, kinds: tuple[str, str]) -> None:
    """Have a layer pass on what it reads."""
    if draft.is_package:
        operation = first(o for o in reversed(draft.operations) if o.type == kinds[1])
        for name in [name for name in operation.inputs if name != "x"]:
            del operation.inputs[name]
        operation.type = "identity"
        return
    layer = first(
        layer
        for layer in reversed(draft.layers)
        if kinds[0] in (layer.WhichOneof("layer"), layer.activation.WhichOneof("NonlinearityType"))
    )
    layer.ClearField(layer.WhichOneof("layer"))
    layer.activation.linear.alpha = 1.0


@mutation
def no_softmax(draft: Draft) -> None:
    _disable(draft, ("softmaxND", "softmax"))


@mutation
def no_relu(draft: Draft) -> None:
    _disable(draft, ("ReLU", "relu"))


@mutation
def softmax_twice(draft: Draft) -> None:
    if draft.is_package:
        place = next(i for i, operation in enumerate(draft.operations) if operation.type == "softmax")
        _insert_copy(draft, place)
        return
    first = draft.layers[-1]
    second = draft.layers.add()
    second.CopyFrom(first)
    first.name = first.output[0] = "once"
    second.input[0] = "once"


@mutation
def softmax_before_the_last_layer(draft: Draft) -> None:
    if draft.is_package:
        operations = draft.operations
        place = next(i for i, operation in enumerate(operations) if operation.type == "softmax")
        softmax = operations[place]
        logits = softmax.inputs["x"].arguments[0].name
        dense_place = next(i for i, o in enumerate(operations) if any(out.name == logits for out in o.outputs))
        dense = operations[dense_place]
        read = dense.inputs["x"].arguments[0].name
        output = softmax.outputs[0].name
        softmax.inputs["x"].arguments[0].name = read
        softmax.outputs[0].CopyFrom(draft.writer(read).outputs[0])
        softmax.outputs[0].name = logits
        dense.inputs["x"].arguments[0].name = logits
        dense.outputs[0].name = output
        order = list(range(len(operations)))
        order.insert(place, order.pop(dense_place))
        stored = [type(softmax).FromString(operations[i].SerializeToString()) for i in order]
        del operations[:]
        operations.extend(stored)
        return
    dense, softmax = draft.layers[-2], draft.layers[-1]
    read, logits, output = dense.input[0], dense.output[0], softmax.output[0]
    softmax.input[0], softmax.output[0] = read, logits
    dense.input[0], dense.output[0] = logits, output
    stored = [type(dense).FromString(layer.SerializeToString()) for layer in (softmax, dense)]
    del draft.layers[-2:]
    draft.layers.extend(stored)


@mutation
def other_stride(draft: Draft) -> None:
    if draft.is_package:
        draft.argument(draft.operation("conv"), "strides").immediateValue.tensor.ints.values[:] = [1, 2]
    else:
        draft.layer("convolution").convolution.stride[:] = [1, 2]


@mutation
def other_padding(draft: Draft) -> None:
    if draft.is_package:
        operation = draft.operation("conv")
        pad_type = draft.argument(operation, "pad_type").immediateValue.tensor.strings
        pad_type.values[:] = ["same_lower" if pad_type.values[0] == "same" else "same"]
    else:
        convolution = draft.layer("convolution").convolution
        if convolution.HasField("same"):
            convolution.same.asymmetryMode = 1  # TOP_LEFT_HEAVY
        else:
            convolution.same.SetInParent()


# Names, labels, origin ---------------------------------------------------------------------------------------------


def _labels(draft: Draft, change: Callable[[list[str]], list[str]]) -> None:
    if not draft.is_package:
        labels = draft.spec.neuralNetworkClassifier.stringClassLabels.vector
        labels[:] = change(list(labels))
        return
    values = draft.argument(draft.operation("classify"), "classes").immediateValue.list.values
    texts = [value.immediateValue.tensor.strings.values for value in values]
    for text, label in zip(texts, change([text[0] for text in texts]), strict=True):
        text[:] = [label]


@mutation
def labels_rotated(draft: Draft) -> None:
    _labels(draft, lambda labels: labels[1:] + labels[:1])


@mutation
def two_labels_swapped(draft: Draft) -> None:
    _labels(draft, lambda labels: [labels[1], labels[0], *labels[2:]])


@mutation
def input_renamed(draft: Draft) -> None:
    import coremltools

    coremltools.utils.rename_feature(draft.spec, "image", "picture", rename_inputs=True, rename_outputs=False)


@mutation
def output_renamed(draft: Draft) -> None:
    import coremltools

    coremltools.utils.rename_feature(draft.spec, "output", "answer", rename_inputs=False, rename_outputs=True)


@mutation
def another_run(draft: Draft) -> None:
    draft.spec.description.metadata.userDefined["run_id"] = "0" * 32


@mutation
def another_compression(draft: Draft) -> None:
    said = draft.spec.description.metadata.userDefined["compression"]
    draft.spec.description.metadata.userDefined["compression"] = "none" if said != "none" else "int8"
