"""Where a promoted file stands, and whether what stands there is ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from architectures.fields import Allowed, Unfit

if TYPE_CHECKING:
    from conversion.coreml_file import Format

DEFAULT_OUTPUT = Path("ios/Digits/Model/DigitClassifier.mlmodel")
SUFFIXES = (".mlmodel", ".mlpackage")


class Place(Allowed):
    """A file or a folder; a slash at its end makes it a folder, whether it exists or not.

    >>> str(Place()("build/"))
    'build/DigitClassifier.mlmodel'
    """

    def check(self, value: object) -> Path:
        if not isinstance(value, str | Path):
            raise Unfit(f"{value!r} is not a path")
        if not str(value):
            raise Unfit("it is empty: give a file or a folder")
        return Path(value) / DEFAULT_OUTPUT.name if str(value).endswith("/") else Path(value)


def output_path(path: Path, format: Format = "mlmodel") -> Path:
    """Where the file goes: a folder gets the default name, and the suffix is the format's.

    >>> str(output_path(Path("build/Digits"), "mlpackage"))
    'build/Digits.mlpackage'
    """
    if path.is_dir() and path.suffix not in SUFFIXES:
        path /= DEFAULT_OUTPUT.name
    return path.with_suffix(f".{format}") if path.suffix in SUFFIXES else path.with_name(f"{path.name}.{format}")


def foreign_file(path: Path) -> Path | None:
    """The file at `path`, or its other form beside it, that no promotion wrote; None where there is none."""
    from conversion.files import standing
    from conversion.runtime import CorruptModel, NotCheckable, load

    for form in standing(path):
        try:
            if "run_id" not in load(form).interface.metadata.user_defined:
                return form
        except (CorruptModel, NotCheckable):
            return form
    return None
