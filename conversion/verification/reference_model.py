"""The trained model with the weights of its Core ML file, which must obey the rule of its compression.

Each tensor of the file is put back into the layer of the Keras model that it came from, and is compared with the
trained weight (`compression_bounds`). The model with these weights, called the twin, runs in TensorFlow in float32, and
must predict what the file does. To pass a file, the search for a tensor's place does not have to be trusted: a tensor
in the wrong place or orientation breaks its rule or changes the twin's predictions. To fail a file, it has to be: see
`conversion.verification.comparison`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from conversion.coreml.compress import SMALLEST_KERNEL
from conversion.runtime.interface import Array
from conversion.verification.compression_bounds import obeyed, violations

if TYPE_CHECKING:
    import keras

FOLDING = 2.0**-21  # relative to the terms of a sum: a few roundings in float32

KERNELS = {  # by Keras class: name of the kernel, and its axes that are output channels
    "Conv1D": ("kernel", (-1,)),
    "Conv2D": ("kernel", (-1,)),
    "Conv1DTranspose": ("kernel", (-2,)),
    "Conv2DTranspose": ("kernel", (-2,)),
    "Dense": ("kernel", (-1,)),
    "DepthwiseConv1D": ("kernel", (-2, -1)),
    "DepthwiseConv2D": ("kernel", (-2, -1)),
    "SeparableConv1D": ("pointwise_kernel", (-1,)),
    "SeparableConv2D": ("pointwise_kernel", (-1,)),
}


@dataclass(frozen=True)
class Slot:
    """A tensor that the file should have."""

    name: str  # layer and weight of the Keras model
    expected: Array
    slack: Array  # allowed change from folding in float32; 0 for a weight that is not folded
    write: Callable[[Array], None]  # puts a tensor of this shape into the model


@dataclass(frozen=True)
class Weight:
    """A weight of the model, and what the file has for it."""

    name: str  # layer and weight of the Keras model, or of our uncompressed conversion
    tensor: str  # layer and field of the file; empty if there is none
    elements: int
    kernel: bool  # whether it is a matrix or a convolution kernel, which compressions apply to
    rule: str  # the compression whose rule it obeys; empty if none
    fault: str  # in words; empty if there is none


@dataclass(frozen=True)
class _Found:
    tensor: str
    stored: Array
    order: tuple[int, ...]  # of the slot's axes in the tensor
    sign: float  # -1 if the file has the negated weight
    cost: float


class ReferenceModel:
    """A model and the weights that a file has for it.

    Args:
        network: the trained model. It is only changed inside `weights_of_the_file`.
        tensors: decoded weights of the file by layer and field.
        compression: from the file's metadata, a key of `conversion.verification.compression_bounds.RULES`.
    """

    def __init__(self, network: keras.Model, tensors: Mapping[str, Mapping[str, Array]], compression: str) -> None:
        self._network = network
        flat = {f"{layer}.{field}": values for layer, fields in tensors.items() for field, values in fields.items()}
        slots = _slots(network, flat)
        self._found = _assigned(slots, flat)
        self._slots = slots
        self.weights = tuple(
            weight
            for i, slot in enumerate(slots)
            if (weight := _weight(slot, self._found.get(i), compression)) is not None
        )

    @contextmanager
    def weights_of_the_file(self) -> Iterator[None]:
        """Give the model the file's weights inside this context."""
        trained = [variable.numpy() for variable in self._network.weights]
        try:
            for i, slot in enumerate(self._slots):
                found = self._found.get(i)
                slot.write(slot.expected if found is None else _put_back(slot, found))
            yield
        finally:
            for variable, values in zip(self._network.weights, trained, strict=True):
                variable.assign(values)


def _weight(slot: Slot, found: _Found | None, compression: str) -> Weight | None:
    if found is None:
        if np.ptp(slot.expected) == 0 and slot.expected.flat[0] in (0, 1):
            return None  # converters drop what has no effect
        fault = f"{slot.name} has no counterpart in the file"
        return Weight(slot.name, "", slot.expected.size, is_kernel(slot.expected), "", fault)
    expected, slack = (_arranged(values, found) for values in (slot.expected * np.float32(found.sign), slot.slack))
    return held(slot.name, found.tensor, found.stored, expected=expected, slack=slack, compression=compression)


def held(name: str, tensor: str, stored: Array, *, expected: Array, slack: Array, compression: str) -> Weight:
    """Compare a tensor of a file with the weight that it should be.

    Args:
        tensor: its name in the file.
        stored: the decoded tensor.
        expected: the weight before compression, in the same shape.
        slack: allowed difference before compression, in the same shape.
    """
    small = expected.size < SMALLEST_KERNEL and compression != "none"
    compression = "float16" if small else compression  # converters do not compress small tensors further
    rule = obeyed(compression, stored, expected, slack)
    fault = ""
    if rule is None:
        wrong = int(violations(compression, stored, expected, slack).sum())
        with np.errstate(all="ignore"):
            most = float(np.abs(stored - expected).max())
        fault = (
            f"{name}, in the file {tensor}, is not the model's after {compression} compression: "
            f"{wrong:,} of {expected.size:,} elements break the rule, the largest difference is {most:.2g}"
        )
    return Weight(name, tensor, expected.size, is_kernel(expected), rule or "", fault)


def is_kernel(values: Array) -> bool:
    """Return whether a weight is a matrix or a convolution kernel."""
    return sum(size > 1 for size in values.shape) > 1


# What the file should hold -------------------------------------------------------------------------------------------


def _kind(layer: keras.Layer) -> str:
    """Return the name of Keras' own class; empty for any other class, which may fold differently."""
    return type(layer).__name__ if type(layer).__module__.startswith("keras.") else ""


def _slots(network: keras.Model, tensors: Mapping[str, Array]) -> list[Slot]:
    from keras.layers import BatchNormalization  # Keras has been imported with the model

    flat = network._flatten_layers(include_self=False, recursive=True)
    slots: list[Slot] = []
    claimed: set[int] = set()
    for layer in flat:
        if isinstance(layer, BatchNormalization):
            host = _host(layer)
            folded = host is not None and _is_folded(host, layer, tensors)
            slots += _folded(host, layer) if host is not None and folded else _normalization(layer)
            claimed |= {id(variable) for variable in [*layer.weights, *(_kernel_and_bias(host) if folded else [])]}
    rest = [variable for variable in network.weights if id(variable) not in claimed]
    slots += [_slot(variable) for variable in rest if "float" in variable.dtype]
    return slots


def _slot(variable: Any) -> Slot:
    values = variable.numpy().astype(np.float32)
    return Slot(variable.path, values, np.zeros_like(values), variable.assign)


def _host(normalization: keras.Layer) -> keras.Layer | None:
    """Return the layer into whose kernel a converter may fold a batch normalization that follows it."""
    import keras

    layers = keras.layers
    identities = (
        *(layers.Dropout, layers.SpatialDropout2D, layers.GaussianNoise, layers.GaussianDropout),
        layers.Identity,
    )
    try:
        operation = normalization.input._keras_history.operation
        while isinstance(operation, (*identities, keras.Model)):
            before = operation.outputs[0] if isinstance(operation, keras.Model) else operation.input
            operation = before._keras_history.operation
    except (AttributeError, ValueError):  # a layer that is called several times has no single input
        return None
    linear = getattr(operation, "activation", None) in (None, keras.activations.linear)
    if _kind(operation) not in KERNELS or not linear:
        return None
    name, axes = KERNELS[_kind(operation)]
    channels = np.prod([getattr(operation, name).shape[axis] for axis in axes])
    return operation if channels == normalization.moving_mean.shape[0] else None


def _kernel_and_bias(host: keras.Layer) -> list[Any]:
    kernel = getattr(host, KERNELS[_kind(host)][0])
    return [kernel] if getattr(host, "bias", None) is None else [kernel, host.bias]


def _affine(layer: keras.Layer) -> tuple[Array, Array, Array]:
    """Return scale and shift of a batch normalization in inference, and the magnitude of the shift's terms."""
    mean, variance = (x.numpy().astype(np.float32) for x in (layer.moving_mean, layer.moving_variance))
    scale = np.float32(1) / np.sqrt(variance + np.float32(layer.epsilon))
    scale = scale if layer.gamma is None else scale * layer.gamma.numpy()
    beta = np.zeros_like(mean) if layer.beta is None else layer.beta.numpy()
    return scale, beta - mean * scale, np.abs(beta) + np.abs(mean * scale)


def _make_affine(layer: keras.Layer, scale: Array | float, shift: Array) -> None:
    """Make a batch normalization compute scale * x + shift."""
    if layer.gamma is None:
        layer.moving_variance.assign(np.broadcast_to(1 / np.square(scale) - layer.epsilon, shift.shape))
    else:
        layer.moving_variance.assign(np.full_like(shift, 1 - layer.epsilon))
        layer.gamma.assign(np.broadcast_to(scale, shift.shape))
    if layer.beta is None:
        layer.moving_mean.assign(-shift / scale)
    else:
        layer.moving_mean.assign(np.zeros_like(shift))
        layer.beta.assign(shift)


def _normalization(layer: keras.Layer) -> list[Slot]:
    scale, shift, terms = _affine(layer)
    written = {"scale": scale}  # the scale's slot comes first

    def write_scale(values: Array) -> None:
        written["scale"] = values

    return [
        Slot(f"{layer.name}/scale", scale, np.abs(scale) * np.float32(FOLDING), write_scale),
        Slot(
            f"{layer.name}/shift",
            shift,
            terms * np.float32(FOLDING),
            lambda values: _make_affine(layer, written["scale"], values),
        ),
    ]


def _folded_kernel(host: keras.Layer, layer: keras.Layer) -> tuple[Any, Array]:
    """Return a host's kernel variable, and its values after folding."""
    name, axes = KERNELS[_kind(host)]
    kernel = getattr(host, name)
    shape = [size if i - len(kernel.shape) in axes else 1 for i, size in enumerate(kernel.shape)]
    return kernel, kernel.numpy() * _affine(layer)[0].reshape(shape)


def _is_folded(host: keras.Layer, layer: keras.Layer, tensors: Mapping[str, Array]) -> bool:
    """Return whether the file's kernel is closer to the host's with the batch normalization folded in than without."""
    kernel, folded = _folded_kernel(host, layer)
    same = [values for values in tensors.values() if values.size == folded.size]
    nearest = [min((_match("", x, f).cost for f in same), default=1.0) for x in (folded, kernel.numpy())]
    return nearest[0] <= nearest[1]


def _folded(host: keras.Layer, layer: keras.Layer) -> list[Slot]:
    kernel, folded = _folded_kernel(host, layer)
    scale, shift, terms = _affine(layer)
    bias = None if getattr(host, "bias", None) is None else host.bias
    if bias is not None:
        shift, terms = shift + bias.numpy() * scale, terms + np.abs(bias.numpy() * scale)

    def write_bias(values: Array) -> None:
        if bias is not None:
            bias.assign(np.zeros_like(values))
        _make_affine(layer, 1.0, values)

    return [
        Slot(f"{host.name}/{kernel.name}", folded, np.abs(folded) * np.float32(FOLDING), kernel.assign),
        Slot(f"{host.name}/bias with {layer.name}", shift, terms * np.float32(FOLDING), write_bias),
    ]


# Where the file holds it ---------------------------------------------------------------------------------------------


def _assigned(slots: list[Slot], tensors: Mapping[str, Array]) -> dict[int, _Found]:
    """Assign a tensor to each slot, minimizing the sum of all differences."""
    from scipy.optimize import linear_sum_assignment

    assigned: dict[int, _Found] = {}
    for size in sorted({slot.expected.size for slot in slots}):
        rows = [i for i, slot in enumerate(slots) if slot.expected.size == size]
        columns = [(name, values) for name, values in tensors.items() if values.size == size]
        table = [[_match(name, slots[i].expected, values) for name, values in columns] for i in rows]
        if not columns:
            continue
        chosen = linear_sum_assignment([[found.cost for found in row] for row in table])
        assigned |= {rows[row]: table[row][column] for row, column in zip(*chosen, strict=True)}
    return assigned


def _match(name: str, expected: Array, stored: Array) -> _Found:
    """Return the axis order and sign with which a weight is closest to a tensor of the same size."""
    best = _Found(name, stored, tuple(range(expected.ndim)), 1.0, np.inf)
    norm = max(float(np.linalg.norm(expected)), float(np.linalg.norm(stored)), 1e-30)
    long = [axis for axis, size in enumerate(expected.shape) if size > 1]
    short = tuple(axis for axis, size in enumerate(expected.shape) if size == 1)
    for order in permutations(long):
        arranged = expected.transpose(short + order).ravel()
        for sign in (1.0, -1.0):
            cost = float(np.linalg.norm(stored.ravel() - np.float32(sign) * arranged)) / norm
            if cost < best.cost:
                best = _Found(name, stored, short + order, sign, cost)
    return best if np.isfinite(best.cost) else _Found(name, stored, best.order, 1.0, 2.0)


def _arranged(values: Array, found: _Found) -> Array:
    """Return a slot's values as the tensor has them."""
    return values.transpose(found.order).reshape(found.stored.shape)


def _put_back(slot: Slot, found: _Found) -> Array:
    """Return a tensor as the slot has it."""
    shape = [slot.expected.shape[axis] for axis in found.order]
    return found.stored.reshape(shape).transpose(np.argsort(found.order)) * np.float32(found.sign)
