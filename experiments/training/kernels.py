"""A training step with fewer kernels than Keras: Adam's update, dropout and batch normalisation.

The results are those of Keras, except that dropout uses other random numbers. Keras' Adam has some twenty operations
for each variable, which TensorFlow traces and optimises before the first step; here it is one kernel. Keras' dropout
draws 32 bits per element, converts them to floats and selects, forward and backward; here a step multiplies by a mask
from 16 bits. Keras' batch normalisation makes some ten passes over a batch, in float32 at any precision; here it is one
kernel each way, between two casts if bfloat16 is slow. Figures are in experiments/LOG.md. Models that are validated,
kept and shipped have Keras' own layers.
"""

from __future__ import annotations

import keras
import tensorflow as tf

LEVELS = 2**16  # a rate of dropout is rounded to this fraction
FLOAT32_CHANNELS = 4  # the fused normalisation is slow unless the channels are a multiple of this
BFLOAT16_CHANNELS = 16  # the same for values in bfloat16


class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` without `amsgrad`, as TensorFlow's kernel for it: equal up to rounding."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Update a variable and its two moments."""
        if variable.dtype != tf.float32:
            super().update_step(gradient, variable, learning_rate)
            return
        step = tf.cast(self.iterations + 1, tf.float32)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


class MaskedDropout(keras.layers.Dropout):  # never saved, hence not registered
    """`keras.layers.Dropout` without `noise_shape`, for rates below 1."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return values of the same shape and type; in training, zero about `rate` of them and scale up the others."""
        dropped = round(self.rate * LEVELS)
        if not training or not dropped:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        size = tf.size(inputs)
        pairs = tf.random.stateless_uniform(((size + 1) // 2,), seed, minval=None, maxval=None, dtype=tf.int32)
        bits = tf.reshape(tf.bitcast(pairs, tf.int16), (-1,))[:size]  # from -LEVELS / 2 to LEVELS / 2 - 1
        keep = tf.reshape(bits >= dropped - LEVELS // 2, tf.shape(inputs))
        return inputs * (tf.cast(keep, inputs.dtype) * tf.cast(LEVELS / (LEVELS - dropped), inputs.dtype))


class FusedNormalization(keras.layers.Layer):  # never saved, hence not registered
    """Batch normalisation of images (N, H, W, C) with the weights of a `keras.layers.BatchNormalization`."""

    def __init__(self, normalization: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=normalization.dtype_policy, name=normalization.name)
        self.normalization = normalization
        self.supports_masking = True

    def call(self, inputs: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return normalised values of the same shape; in training, update the averages."""
        layer = self.normalization
        if not training or not layer.trainable or mask is not None:
            return layer(inputs, training=training, mask=mask)
        channels = layer.moving_mean.shape[0]
        in_bfloat16 = inputs.dtype == tf.bfloat16 and channels % BFLOAT16_CHANNELS == 0
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs if in_bfloat16 else tf.cast(inputs, tf.float32),
            scale=tf.ones(channels) if layer.gamma is None else layer.gamma.value,
            offset=tf.zeros(channels) if layer.beta is None else layer.beta.value,
            mean=[],
            variance=[],
            epsilon=layer.epsilon,
        )
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        layer.moving_mean.assign(layer.momentum * layer.moving_mean + (1 - layer.momentum) * mean)
        variance *= (count - 1) / count  # Keras averages the batch's own variance, not the unbiased estimate
        layer.moving_variance.assign(layer.momentum * layer.moving_variance + (1 - layer.momentum) * variance)
        return tf.cast(outputs, self.compute_dtype)


def _fusible(layer: keras.layers.BatchNormalization) -> bool:
    """Return whether the fused kernel can replace the built layer, and is fast for its number of channels."""
    if layer.renorm or layer.synchronized or layer.activity_regularizer or layer.variable_dtype != "float32":
        return False
    return layer.input_spec.ndim == 4 and layer.axis in (-1, 3) and layer.moving_mean.shape[0] % FLOAT32_CHANNELS == 0


def with_fast_kernels(model: keras.Model) -> keras.Model:
    """Return the built model with dropout and batch normalisation replaced by fast kernels that compute the same.

    All other layers, and all weights, are shared with it. Subclassed models, whose `call` a copy would lose, are
    returned unchanged.

    >>> from architectures import build
    >>> network = build("pocket", (28, 28, 1), 10)
    >>> [type(layer).__name__ for layer in with_fast_kernels(network).layers if "kernels" in type(layer).__module__]
    ['FusedNormalization', 'MaskedDropout']
    """

    def replaced(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            return with_fast_kernels(layer)
        if type(layer) is keras.layers.Dropout and layer.noise_shape is None and round(layer.rate * LEVELS) < LEVELS:
            return MaskedDropout.from_config(layer.get_config())
        if type(layer) is keras.layers.BatchNormalization and _fusible(layer):
            return FusedNormalization(layer)
        return layer

    if type(model).__module__.partition(".")[0] != "keras":
        return model
    return keras.models.clone_model(model, clone_function=replaced)
