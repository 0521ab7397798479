"""Training images larger than memory: `tf.data` reads each batch from disk while the previous one is trained.

The batches and their order are those of training from memory, so the results are the same, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.datasets import Split, cache

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

PREFETCHED = 2  # batches that are read ahead


def streams(split: Split) -> bool:
    """Return whether a split's images stay on disk; smaller ones are a constant of the epoch's graph, for speed."""
    return split.images.nbytes > cache.IN_MEMORY_BYTES


def batches(split: Split, permutation: tf.Tensor, *, size: int) -> tf.data.Dataset:
    """Return batches (images uint8, labels) of `size` in the order of a permutation, without an incomplete last one."""
    import tensorflow as tf

    steps = permutation.shape[0] // size
    dtype = split.images.dtype
    labels = tf.constant(split.labels)

    def read(rows: np.ndarray) -> np.ndarray:
        return split.images[rows]

    def batch(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = tf.ensure_shape(tf.numpy_function(read, [rows], dtype), (size, *split.images.shape[1:]))
        return images, tf.gather(labels, rows)

    order = tf.data.Dataset.from_tensor_slices(tf.reshape(permutation[: steps * size], (steps, size)))
    return order.map(batch).prefetch(PREFETCHED)
