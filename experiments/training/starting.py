"""Start TensorFlow in a training process."""

from __future__ import annotations

from collections.abc import Sequence

from architectures import registry
from architectures.quiet import import_tensorflow
from experiments.training.precision import Gpu, visible_gpu


def start_tensorflow(threads: int, plugins: Sequence[str]) -> Gpu | None:
    """Import TensorFlow, set its threads and load plugins; return the GPU that it sees."""
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    gpu = visible_gpu()
    for plugin in plugins:
        registry.load_plugin(plugin)
    return gpu
