"""Environment that heavy libraries read while they are imported, and an import of TensorFlow without its chatter."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

DEFAULTS = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # workers share a GPU: its memory as it is needed
    "TQDM_DISABLE": "1",  # coremltools' six progress bars per conversion
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its store logs a traceback of every error that it also raises
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of a lost server: seconds, where MLflow's 7 are minutes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def set_defaults() -> None:
    """Set what the person has not set."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, in a notebook: its bars are off anyway


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Send the process's stderr nowhere: TensorFlow's C++ writes there before it reads its log level."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def import_tensorflow() -> None:
    """Import TensorFlow and Keras, in silence unless it fails.

    Float32 is float32 on a GPU, too: NVIDIA's would round the factors of a product to 10 bits (TF32), and a Core ML
    file is held to what its model answers to 1e-5.
    """
    set_defaults()
    with silenced_stderr():
        import keras  # noqa: F401
        import tensorflow as tf
    tf.config.experimental.enable_tensor_float_32_execution(False)
