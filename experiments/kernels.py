"""A training step in fewer kernels than Keras makes of it: Adam's update and dropout.

Both give what Keras' give, dropout from other random numbers. Keras' Adam is some twenty operations for each variable,
which TensorFlow traces and optimises before a first step; here it is one kernel. Keras' dropout draws 32 bits an
element, makes floats of them and selects, forward and backward; here a step multiplies by a mask of 16 bits. Figures
stand in experiments/LOG.md. What is kept, validated and shipped holds Keras' own layers.
"""

from __future__ import annotations

import keras
import tensorflow as tf

LEVELS = 2**16  # a rate of dropout is rounded to this fraction


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
    """`keras.layers.Dropout` without `noise_shape`, for rates that leave something."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Values of the same shape and type, in training about `rate` of them 0 and the others larger for it."""
        dropped = round(self.rate * LEVELS)
        if not training or not dropped:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        size = tf.size(inputs)
        pairs = tf.random.stateless_uniform(((size + 1) // 2,), seed, minval=None, maxval=None, dtype=tf.int32)
        bits = tf.reshape(tf.bitcast(pairs, tf.int16), (-1,))[:size]  # from -LEVELS / 2 to LEVELS / 2 - 1
        keep = tf.reshape(bits >= dropped - LEVELS // 2, tf.shape(inputs))
        return inputs * (tf.cast(keep, inputs.dtype) * tf.cast(LEVELS / (LEVELS - dropped), inputs.dtype))


def with_masked_dropout(model: keras.Model) -> keras.Model:
    """The model with its `Dropout` layers replaced; all other layers, and so the weights, are shared with it.

    Models of a class of their own, whose `call` a copy would lose, are left as they are.

    >>> from architectures import build
    >>> network = build("malireddi", (28, 28, 1), 10)
    >>> [type(layer).__name__ for layer in with_masked_dropout(network).layers if "Dropout" in type(layer).__name__]
    ['MaskedDropout', 'MaskedDropout', 'MaskedDropout']
    """

    def replaced(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            return with_masked_dropout(layer)
        if type(layer) is keras.layers.Dropout and layer.noise_shape is None and round(layer.rate * LEVELS) < LEVELS:
            return MaskedDropout.from_config(layer.get_config())
        return layer

    if type(model).__module__.partition(".")[0] != "keras":
        return model
    return keras.models.clone_model(model, clone_function=replaced)
