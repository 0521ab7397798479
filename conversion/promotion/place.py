"""Where a promoted file is put, and which registered model that place belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from architectures.errors import UsageError
from architectures.fields import Allowed, InvalidValue
from conversion.coreml.formats import Format
from experiments.datasets.registry import DIGITS
from experiments.names import folder_name, is_file_name

DEFAULT_OUTPUT = Path("ios/Digits/Model/DigitClassifier.mlmodel")  # of digits, read by the app
OTHER_MODELS = Path("ios/Models")  # one folder per registered model
OTHER_NAME = "Classifier.mlmodel"
SUFFIXES = (".mlmodel", ".mlpackage")
ENDING = re.compile(r"\.[A-Za-z]\w*")  # of a file type; the .2 of v1.2 is not one


class OutputPlace(Allowed):
    """A file or a folder; with a trailing slash it is a folder, even if it does not exist.

    >>> OutputPlace()("build/")
    'build/'
    >>> OutputPlace()("Photos.onnx")
    Traceback (most recent call last):
    architectures.fields.InvalidValue: 'Photos.onnx' is not a Core ML file: end it in .mlmodel or .mlpackage, or in none
    """

    def check(self, value: object) -> str:
        if not isinstance(value, str | Path):
            raise InvalidValue(f"{value!r} is not a path")
        text = str(value)
        if not text:
            raise InvalidValue("it is empty: give a file or a folder")
        suffix = Path(text).suffix
        if suffix not in SUFFIXES and ENDING.fullmatch(suffix) and not _is_folder(text):
            raise InvalidValue(f"{text!r} is not a Core ML file: end it in {' or '.join(SUFFIXES)}, or in none")
        return text


def checked_place(output: str | Path | None) -> str | None:
    """Check a place that was given in Python; raise UsageError like the command line."""
    try:
        return None if output is None else OutputPlace().check(output)
    except InvalidValue as error:
        raise UsageError(f"output: {error}.") from None


def default_output(name: str, *, image: tuple[int, int, int], labels: Sequence[str | int]) -> Path:
    """Return the place of a registered model whose images are (height, width, channels).

    >>> str(default_output("mnist5k-classifier", image=(28, 28, 1), labels="0123456789"))
    'ios/Digits/Model/DigitClassifier.mlmodel'
    >>> str(default_output("photos-classifier", image=(96, 96, 3), labels=("cat", "dog")))
    'ios/Models/photos-classifier/Classifier.mlmodel'
    """
    if image == (28, 28, 1) and tuple(labels) == DIGITS:
        return DEFAULT_OUTPUT
    folder = name if is_file_name(name) else folder_name(name)  # excludes `..` and names that are too long
    return OTHER_MODELS / folder / OTHER_NAME


def output_path(output: str | Path | None, default: Path, format: Format = "mlmodel") -> Path:
    """Return where the file goes: a folder gets the default name, and the suffix follows the format.

    >>> str(output_path("build/Digits", DEFAULT_OUTPUT, "mlpackage"))
    'build/Digits.mlpackage'
    >>> str(output_path("build/", DEFAULT_OUTPUT))
    'build/DigitClassifier.mlmodel'
    """
    path = default if output is None else Path(output)
    if output is not None and _is_folder(str(output)):
        path /= default.name
    return path.with_suffix(f".{format}") if path.suffix in SUFFIXES else path.with_name(f"{path.name}.{format}")


def _is_folder(text: str) -> bool:
    return text.endswith("/") or (Path(text).is_dir() and Path(text).suffix not in SUFFIXES)
