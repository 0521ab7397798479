"""Write the Swift code of `conversion.swift` for each kind of file.  Run: python ios/make_code.py FOLDER"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

IOS = Path(__file__).parent
BUNDLED = IOS / "Digits/Bundled/BundledDigits.mlmodel"


@dataclass(frozen=True)
class Kind:
    """A kind of promoted file, by the properties that its Swift code depends on."""

    name: str  # of the file
    shape: tuple[int, int, int]  # height, width, channels
    labels: tuple[str, ...]
    format: str
    fit: str = ""
    background: str = ""
    threshold: float = 0.0


DIGITS = tuple("0123456789")
PETS = ("cat", 'dog "Rex" \\(1)', "Pferd\t\U0001f40e")
KINDS = (
    Kind("DigitClassifier", (28, 28, 1), DIGITS, "mlmodel", threshold=0.9648),
    Kind("digits-in-a-package", (28, 28, 1), DIGITS, "mlpackage", threshold=1.0),
    Kind("Classifier", (48, 64, 3), PETS, "mlmodel", "crop", "white", 0.5),
    Kind("3 pets", (64, 48, 3), PETS, "mlpackage", "pad", "1e90ff"),
    Kind("squashed", (32, 32, 3), tuple(f"label {number}" for number in range(40)), "mlmodel", "squash", "black"),
    Kind("gray photographs", (40, 40, 1), PETS, "mlpackage", "pad", "white"),
)


def make(folder: Path) -> list[Path]:
    """Write the Swift of an untrained network's file of each kind, and of the bundled one, into a folder."""
    from architectures import build
    from conversion.coreml.convert import FileFacts, convert
    from conversion.coreml.writing import write
    from conversion.swift_code import swift_code
    from experiments.classifier import as_classifier

    folder.mkdir(parents=True, exist_ok=True)
    facts = FileFacts((), "pictures", "0" * 64, "malireddi", "0" * 32, "", "unknown", 0.9)
    made = [swift_code(BUNDLED)]
    with TemporaryDirectory() as place:
        for kind in KINDS:
            classifier = as_classifier(build("malireddi", kind.shape, len(kind.labels), filters=4))
            told = replace(
                facts,
                class_names=kind.labels,
                fit=kind.fit,
                background=kind.background,
                threshold=kind.threshold,
            )
            path = Path(place, f"{kind.name}.{kind.format}")
            write(convert(classifier, told, format=kind.format), path)  # type: ignore[arg-type]
            made.append(swift_code(path))
    files = [folder / f"{one.type}.swift" for one in made]
    for file, one in zip(files, made, strict=True):
        file.write_text(one.swift, encoding="utf-8")
    return files


if __name__ == "__main__":
    make(Path(sys.argv[1]))
