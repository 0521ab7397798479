"""The contract of every registered architecture, as one check that any package can run on its own.

    from architectures.contract import check_architecture

    def test_mine():
        check_architecture("mine")

Checks that need packages above this one, such as conversion, come from the entry-point group `architecture_checks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np

from architectures import registry
from architectures.errors import ProjectError, UsageError
from architectures.redaction import redact
from architectures.registry import Architecture, Builder, Shape
from architectures.scratch import scratch_folder

if TYPE_CHECKING:
    import keras

CLASSES = 7  # different from all sizes inside a network
IMAGES = 8
SMALL_SIDE = 8  # pixels: smaller images need not work; larger ones must, or the error must name the smallest size
STEP_LEARNING_RATES = (1e-3, 1e-4, 1e-5)  # of the single training step: the first is too large for some deep networks
RATES = (0.2, 0.4)  # of dropout
SEED = 0
LONGEST_REASON = 1_000  # characters: Keras and TensorFlow print whole configurations
HIGHEST_MOMENTUM = 0.95  # of batch normalisation's averages: more is too slow if an epoch has fewer than 20 steps
ROUNDING = 1e-6  # of a probability: a loaded model computes the same


class ContractBroken(ProjectError, AssertionError):
    """An architecture, optimizer or loss breaks its contract; the message lists every reason."""


def check_architecture(architecture: str | Architecture, *, input_shape: Shape = (28, 28, 1)) -> None:
    """Check that an architecture keeps the contract, at a small width.

    Args:
        architecture: a registered name, or the result of `architectures.get`.
        input_shape: height, width and channels of the images for most checks; 1 or 3 channels. Sides below the
            architecture's own smallest side are raised to it.

    Raises:
        ContractBroken: an AssertionError that lists every check that failed, with the reason.
        UsageError: for an unknown name.
    """
    if isinstance(architecture, str):
        architecture = registry.get(architecture)
    filters = None if architecture.default_filters is None else max(1, architecture.default_filters // 4)
    side = architecture.smallest_side
    input_shape = (max(side, input_shape[0]), max(side, input_shape[1]), input_shape[2])
    shared = replace(architecture, builder=BuiltOnce(architecture.builder))
    hold(f"Architecture {architecture.name!r}", checks(), shared, input_shape, filters)


def hold(what: str, checks: Mapping[str, Callable[..., None]], *arguments: object) -> None:
    """Run all checks with these arguments; raise ContractBroken with every reason."""
    broken = []
    for name, check in checks.items():
        try:
            check(*arguments)
        except Exception as error:  # of a plugin or a library
            kind = "" if isinstance(error, AssertionError | ProjectError) else f"{type(error).__name__}: "
            broken.append(f"{name}: {kind}{redact(' '.join(str(error).split()))[:LONGEST_REASON]}")
    if broken:
        raise ContractBroken(f"{what} breaks its contract. " + " | ".join(broken))


class BuiltOnce:
    """A builder that lets checks share networks: each is built once, with SEED, and reset to its initial weights."""

    def __init__(self, builder: Builder) -> None:
        """Wrap a builder."""
        self.builder = builder
        self.__doc__ = builder.__doc__
        self._built: dict[object, tuple[keras.Model, list[np.ndarray]]] = {}

    def __call__(self, input_shape: Shape, num_classes: int, **values: Any) -> keras.Model:
        import keras

        asked = (input_shape, num_classes, *sorted(values.items()))
        if asked not in self._built:
            keras.utils.set_random_seed(SEED)
            model = self.builder(input_shape, num_classes, **values)
            self._built[asked] = model, [variable.numpy() for variable in model.variables]
        model, start = self._built[asked]
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        return model


ArchitectureCheck = Callable[
    [Architecture, Shape, int | None], None
]  # raises where an architecture fails at this width


def checks() -> dict[str, ArchitectureCheck]:
    """Return all checks by name: those of this module, then those of installed packages."""
    own: tuple[ArchitectureCheck, ...] = (
        sizes,
        probabilities,
        filters_widen,
        dropout_arrives,
        training_step,
        saving,
        determinism,
        averages,
    )
    named = {check.__name__.replace("_", " "): check for check in own}
    return named | {point.name: point.load() for point in entry_points(group="architecture_checks")}


def sizes(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that grayscale and RGB images from 8x8 up are accepted, or refused with the smallest size that works."""
    height, width, _ = input_shape
    larger, small = (height + 4, width + 1), (SMALL_SIDE, SMALL_SIDE)
    # Not every size with every number of channels, because building is slow; other checks build the given shape.
    for shape in (input_shape, (*larger, 4 - input_shape[2]), (*small, 1), (*small, 3)):
        try:
            architecture.build(shape, CLASSES, filters=filters)
        except UsageError:  # names the smallest size
            require(shape[0] == SMALL_SIDE, f"does not take {shape}, larger than the smallest size it names")


def probabilities(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that every image gets probabilities, whatever its batch; those of a softmax sum to 1."""
    model = architecture.build(input_shape, CLASSES, filters=filters)
    images = _images(input_shape)
    found = _forward(model, images)
    require(found.shape == (IMAGES, CLASSES), f"gives {found.shape} for {IMAGES} images, not {(IMAGES, CLASSES)}")
    require(np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all(), "gives values outside [0, 1]")
    if registry.head_of(model) == "softmax":
        require(np.allclose(found.sum(axis=1), 1, atol=1e-5), f"rows sum to {found.sum(axis=1)}, not 1")
    alone = _forward(model, images[:1])
    require(np.allclose(alone, found[:1], atol=1e-5), "answers an image differently when others are in its batch")


def filters_widen(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that more filters give more parameters."""
    if filters is None:
        return
    counts = [architecture.build(input_shape, CLASSES, filters=filters * times).count_params() for times in (1, 2, 4)]
    require(counts[0] < counts[1] < counts[2], f"parameters do not grow with filters: {counts}")


def dropout_arrives(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that the rate reaches dropout layers, and that a rate of 0 drops nothing.

    Layers that are random in training at any rate, such as augmentation or noise, are not checked.
    """

    def build(rate: float) -> keras.Model:
        return architecture.build(input_shape, CLASSES, filters=filters, dropout=rate)

    images = _images(input_shape)
    low, high = (build(rate) for rate in RATES)
    rates = _rates(low)
    require(rates != _rates(high), f"a dropout of {RATES[0]} and of {RATES[1]} build layers of the same rates: {rates}")
    require(_varies(high, images), f"two training passes with dropout {RATES[1]} are the same")
    none = build(0.0)
    if _varies(none, images):
        own = [_settings(layer) for layer in _random_layers(high)]
        random = _random_layers(none)
        dropping = [layer.name for layer in random if _settings(layer) not in own]
        where = f": in {', '.join(dropping)}" if dropping else ""
        require(bool(random) and not dropping, f"two training passes with dropout 0.0 differ{where}")


def training_step(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that a gradient step lowers the loss on a fixed batch, and that all trainable weights have gradients."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    model = architecture.build(input_shape, CLASSES, filters=filters, dropout=0.0)
    images, labels = tf.constant(_images(input_shape)), tf.constant(np.arange(IMAGES) % CLASSES)

    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]

    def loss() -> tf.Tensor:
        keras.utils.set_random_seed(SEED)
        for variable, value in state:  # including seeds, so that random layers do the same before and after
            variable.assign(value)
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, model(images, training=True)))

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, model.trainable_variables)
    unused = [
        weight.path for weight, gradient in zip(model.trainable_variables, gradients, strict=True) if gradient is None
    ]
    require(not unused, f"weights without a gradient: {', '.join(unused)}")
    start = [variable.numpy() for variable in model.trainable_variables]
    signs = [tf.sign(tf.convert_to_tensor(gradient)) for gradient in gradients]
    for rate in STEP_LEARNING_RATES:
        for variable, value, sign in zip(model.trainable_variables, start, signs, strict=True):
            variable.assign(value - rate * sign)  # Adam's first step
        after = float(loss())
        if after < float(before):
            return
    raise ContractBroken(f"the loss on a fixed batch went from {float(before):.4f} to {after:.4f} in one step")


def saving(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that a `.keras` file loads in safe mode and gives the same probabilities."""
    import keras

    model = architecture.build(input_shape, CLASSES, filters=filters)
    with scratch_folder() as folder:
        file = folder / "model.keras"
        model.save(file)
        loaded = keras.saving.load_model(file, compile=False, safe_mode=True)
    images = _images(input_shape)
    difference = np.abs(_forward(model, images) - _forward(loaded, images)).max()
    require(difference <= ROUNDING, f"the loaded model's probabilities differ by {difference:.1e}")


def determinism(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Check that the same seed builds the same layers and weights."""
    import keras

    builder = architecture.builder
    alone = replace(architecture, builder=builder.builder) if isinstance(builder, BuiltOnce) else architecture
    built = []
    for each in (architecture, alone):
        keras.utils.set_random_seed(SEED)
        model = each.build(input_shape, CLASSES, filters=filters)
        built.append(([type(layer).__name__ for layer in model.layers], model.get_weights()))
    (first_layers, first), (second_layers, second) = built
    require(first_layers == second_layers, f"builds {first_layers}, then {second_layers}")
    same = len(first) == len(second) and all(map(np.array_equal, first, second))
    require(same, "the same seed gives other weights")


def averages(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Warn about batch normalisation whose averages are too slow for a short run: it works, but costs accuracy."""
    import keras

    model = architecture.build(input_shape, CLASSES, filters=filters)
    found = model._flatten_layers(include_self=False, recursive=True)
    momenta = [layer.momentum for layer in found if isinstance(layer, keras.layers.BatchNormalization)]
    if momenta and max(momenta) > HIGHEST_MOMENTUM:
        warnings.warn(
            f"Architecture {architecture.name!r} has batch normalisation with a momentum of {max(momenta):g}: if an "
            f"epoch has fewer than {1 / (1 - max(momenta)):.0f} steps, the averages are recomputed from training "
            f"images before each validation; otherwise they need hundreds of steps. Set momentum=0.9.",
            stacklevel=2,
        )


def _varies(model: keras.Model | keras.Layer, *args: Any, **kwargs: Any) -> bool:
    """Return whether any output differs between two training passes."""
    import keras

    first, second = (keras.tree.flatten(model(*args, **(kwargs | {"training": True}))) for _ in range(2))
    return not all(np.allclose(*outputs, atol=ROUNDING) for outputs in zip(first, second, strict=True))


def _random_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers of a model, and of the models inside it, that are random in training."""
    import keras

    def values(argument: object) -> object:
        if not isinstance(argument, keras.KerasTensor):
            return argument
        return _images(tuple(argument.shape[1:])).astype(argument.dtype)

    found = []
    for layer in model._flatten_layers(include_self=False, recursive=True):
        # Parts of a layer are not called on their own, and are random if the layer is.
        if layer._inbound_nodes and not isinstance(layer, keras.Model | keras.layers.InputLayer):
            args, kwargs = layer._inbound_nodes[0].arguments.convert(values)
            if _varies(layer, *args, **kwargs):
                found.append(layer)
    return found


def _settings(layer: keras.Layer) -> object:
    """Return a layer's class and configuration, without Keras' numbered names."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if key not in ("name", "seed")}
        return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value

    return type(layer), plain(layer.get_config())


def _rates(model: keras.Model) -> list[float]:
    """Return the rates of all layers that have one."""
    layers = model._flatten_layers(include_self=False, recursive=True)
    return [layer.rate for layer in layers if isinstance(getattr(layer, "rate", None), float | int)]


def _images(input_shape: tuple[int, ...]) -> np.ndarray:
    """Return a fixed batch of noise in [0, 1]."""
    return np.random.default_rng(SEED).random((IMAGES, *input_shape), dtype=np.float32)


def _forward(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images, training=False))


def require(held: bool | np.bool_, reason: str) -> None:
    if not held:
        raise AssertionError(reason)
