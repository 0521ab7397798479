"""The registered losses: cross-entropy, focal loss, and those of plugins.

    @register_loss()
    def squared(num_classes) -> keras.losses.Loss:
        return keras.losses.MeanSquaredError()

With any loss, `val_loss` is the cross-entropy on the validation images, so that runs are comparable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from architectures.errors import PluginError
from experiments.config import CROSS_ENTROPY, RunConfig
from experiments.training.registered import BuilderRegistry, Registered

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    LossBuilder: TypeAlias = Callable[..., keras.losses.Loss]

FOCAL_GAMMA = 2.0  # the paper's best

_losses = BuilderRegistry("loss", group="losses", argument="num_classes")
get, names, left_out = _losses.get, _losses.names, _losses.left_out


def register_loss(*, name: str | None = None) -> Callable[[LossBuilder], LossBuilder]:
    """Register a builder `(num_classes[, *, label_smoothing]) -> keras.losses.Loss` under its own or another name.

    The loss's `call` gets label shares (N, num_classes), one-hot unless images are mixed, and probabilities of the same
    shape, and returns the loss of each image (N,). Without the keyword `label_smoothing`, runs with this loss refuse
    that option. `experiments.training.contract.check_loss` tests it.

    Raises:
        PluginError: if the name is taken, or the builder's signature differs.
    """

    def decorate(builder: LossBuilder) -> LossBuilder:
        _losses.register(builder, name or builder.__name__)
        return builder

    return decorate


@register_loss(name=CROSS_ENTROPY)
def cross_entropy(num_classes: int, *, label_smoothing: float) -> keras.losses.Loss:
    """Cross-entropy of the label."""
    import keras

    return keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)


@register_loss()
def focal(num_classes: int, *, label_smoothing: float) -> keras.losses.Loss:
    """Focal loss: cross-entropy in which well-classified images count less.

    It omits the paper's class weight, which would only scale it here; `--class-weight balanced` weights classes.

    Paper: Lin and others, 2017
    """
    import keras

    return keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=FOCAL_GAMMA, label_smoothing=label_smoothing)


def build(config: RunConfig, num_classes: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a run's loss: from labels (N,) or label shares (N, num_classes), and probabilities, to the losses (N,).

    Raises:
        UsageError: for an unknown name, or an option of the run that the loss does not take.
        PluginError: if it cannot be built, or does not give one loss for each image.
    """
    import keras
    import tensorflow as tf

    registered = get(config.loss)
    loss = registered.build(num_classes, config, keras.losses.Loss)
    _try_out(loss, registered, num_classes)

    def of_each(target: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        if len(target.shape) == 1:
            if config.loss == CROSS_ENTROPY:  # TensorFlow has a kernel for integer labels
                return keras.losses.sparse_categorical_crossentropy(target, probabilities)
            target = tf.one_hot(target, num_classes)
        return loss.call(target, probabilities)

    return of_each


def _try_out(loss: keras.losses.Loss, registered: Registered, num_classes: int) -> None:
    """Try the loss on some images in a graph, as in training, to report errors in one line."""
    import tensorflow as tf

    images = num_classes + 1  # different from the number of classes
    labels, probabilities = tf.one_hot(tf.range(images) % num_classes, num_classes), tf.ones((images, num_classes))
    fault = f"Loss {registered.takes.name!r} ({registered.source})"
    try:
        found = tf.function(loss.call, autograph=False)(labels, probabilities / num_classes)
        found = tf.convert_to_tensor(found)
    except Exception as error:  # of a plugin or a library
        raise PluginError(f"{fault} failed: {type(error).__name__}: {error}") from error
    if found.shape != (images,):
        raise PluginError(
            f"{fault} gives values of shape {tuple(found.shape)} for {images} images, not one for each: let its `call` "
            f"reduce nothing but the classes."
        )
