"""Environment variables that heavy libraries read on import, and an import of TensorFlow without its log output.

Settings that change a network override a person's own keras.json and environment, because runs do not record them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from architectures.display import say
from architectures.errors import ProjectError

# By variable: the library that reads it on import, and the value that this project relies on.
RELIED_ON = {
    "KERAS_BACKEND": ("keras", "tensorflow"),
    "KERAS_NNX_ENABLED": ("keras", "false"),
    "TF_USE_LEGACY_KERAS": ("tensorflow", "0"),  # coremltools uses tf.keras
}
ENVIRONMENT_DEFAULTS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # allocate on demand, because workers share a GPU
    "TQDM_DISABLE": "1",  # coremltools' six progress bars per conversion
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its store logs a traceback of every error that it also raises
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # seconds for an unreachable server; MLflow's 7 retries take minutes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def set_defaults() -> None:
    """Set variables that the user has not set, and those that this project relies on.

    Variables of a library that is already imported, even partially, are left unchanged: it has read them, and records
    and error messages show them.
    """
    for name, (library, value) in RELIED_ON.items():
        if not any(module == library or module.startswith(f"{library}.") for module in tuple(sys.modules)):
            os.environ[name] = value
    for name, value in ENVIRONMENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    _do_without_home()
    warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, whose bars are off anyway


def _do_without_home() -> None:
    """Let libraries work without a writable home directory, and warn in one line.

    Child processes inherit both variables, and do not warn.
    """
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and the user id has no passwd entry
        why = f"the home directory is unknown: HOME is not set, and user id {os.getuid()} has no passwd entry"
        os.environ["HOME"] = str(spare := _spare_home())
    else:
        if os.access(home, os.W_OK) or "MPLCONFIGDIR" in os.environ:
            return
        why = f"the home directory {home} is not there or not writable"
        spare = _spare_home()
    os.environ.setdefault("MPLCONFIGDIR", str(spare))  # Matplotlib caches fonts there
    say(f"warning: {why}; using {spare} instead; set HOME to a writable folder.", file=sys.stderr)


def _spare_home() -> Path:
    """Return a temporary folder that no other user can write to; always the same one, unless its name is taken."""
    spare = Path(tempfile.gettempdir()) / f"pocketnets-{os.getuid()}"
    try:
        spare.mkdir(mode=0o700, exist_ok=True)
        found = spare.lstat()  # does not follow links
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return spare
    except OSError:  # a file with that name, or a full disk
        pass
    with contextlib.suppress(OSError):
        return Path(tempfile.mkdtemp(prefix="pocketnets-"))
    return spare


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard the process's stderr: TensorFlow's C++ code writes to it before it reads its log level."""
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
    """Import TensorFlow and Keras, silently unless this fails.

    TF32 is disabled: on NVIDIA GPUs it would round the factors of a product to 10 bits, but a Core ML file must agree
    with its model to 1e-5.

    Raises:
        ProjectError: if the import fails, naming what Keras has read, or if Keras already uses another backend.
    """
    set_defaults()
    try:
        with silenced_stderr():
            import keras
            import tensorflow as tf

            tf.keras.Model  # noqa: B018  # used by coremltools: TensorFlow loads its Keras here
    except Exception as error:
        read = ", ".join(_read_by_keras())
        hint = f" On import it reads {read}: correct or remove what is wrong." if read else ""
        told = str(error).rstrip(".")
        raise ProjectError(f"Keras failed on import: {type(error).__name__}: {told}.{hint}") from error
    if (backend := keras.config.backend()) != "tensorflow":
        raise ProjectError(
            f"Keras was imported with the backend {backend} before this project, which needs tensorflow: set "
            f"KERAS_BACKEND=tensorflow, or import architectures before keras."
        )
    tf.config.experimental.enable_tensor_float_32_execution(False)
    set_keras()


def set_keras() -> None:
    """Set the options that keras.json or a plugin may have changed to the values that this project relies on."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


def _read_by_keras() -> Iterator[str]:
    """Yield the existing file and variables that Keras reads on import."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras")
    with contextlib.suppress(RuntimeError, OSError):  # no home directory
        if (file := home.expanduser() / "keras.json").exists():
            yield str(file)
    for name, value in sorted(os.environ.items()):
        if name in RELIED_ON and value == RELIED_ON[name][1]:
            continue  # our own value; any other was read before this project could set it
        if name in RELIED_ON or name.startswith("KERAS_"):
            yield f"{name}={value}"
