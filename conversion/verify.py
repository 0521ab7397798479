"""Execute a saved Core ML file and compare it with its model.  Run: python -m conversion.verify FILE --run RUN_ID

Exit codes: 0 verified, 1 differs, 3 not checkable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.command import Parser, print_json, run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from conversion.candidate import Candidate
    from conversion.runtime import Interface

PARITY_TOLERANCE = 1e-5  # probability; honest float32 files differ by 1e-7, an image scale of 1/256 by 4e-4
FLIPPED_SHOWN = 20  # images whose top-1 label differs, named in the evidence


@dataclass(frozen=True)
class Check:
    """One property of the file that must be as the model says."""

    name: str
    passed: bool
    expected: str
    found: str


@dataclass(frozen=True)
class Parity:
    """The file against the model on one split."""

    split: str
    images: int
    max_difference: float  # of a probability
    mean_difference: float  # of a probability
    label_flips: int  # images whose top-1 label differs
    flipped: tuple[int, ...]  # their first indices in the split
    file_accuracy: float  # of the executed file
    model_accuracy: float  # of the Keras model


@dataclass(frozen=True)
class Evidence:
    """What executing and reading a file showed."""

    file_sha256: str
    file_bytes: int
    format: str
    checks: tuple[Check, ...]
    parity: tuple[Parity, ...]
    test_predictions: tuple[int, ...]  # label indices, of the executed file

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything in which the file differs from its model, in words; empty for a verified file."""
        found = [f"{check.name}: {check.found}, not {check.expected}" for check in self.checks if not check.passed]
        for parity in self.parity:
            if not parity.max_difference <= PARITY_TOLERANCE:  # also where it is NaN
                found.append(
                    f"probabilities differ from the model's by up to {parity.max_difference:.2e} on {parity.split} "
                    f"images, at most {PARITY_TOLERANCE:.0e} is allowed"
                )
            if parity.label_flips:
                found.append(f"{parity.label_flips} of {parity.images} {parity.split} images get another label")
        return tuple(found)

    @property
    def verified(self) -> bool:
        return not self.faults

    def on(self, split: str) -> Parity:
        return next(parity for parity in self.parity if parity.split == split)


def verify(path: Path, candidate: Candidate) -> Evidence:
    """Execute a file on the whole validation and test splits and hold it against its model.

    Raises:
        CorruptModel: if the file cannot be read.
        NotCheckable: if it holds something that the executor does not know.
    """
    from conversion import runtime
    from conversion.coreml_file import read
    from experiments.classifier import forward_function, predict

    executable = runtime.load(path)
    interface = executable.interface
    checks = _structure(interface, candidate)
    parity: list[Parity] = []
    test_predictions: tuple[int, ...] = ()
    fits = all(check.passed for check in checks if check.name in {"image size", "image colour", "label count"})
    if fits:  # otherwise the file cannot take the images, or its answers have no counterpart
        forward = forward_function(candidate.classifier)
        for name in ("val", "test"):
            split = getattr(candidate.dataset, name)
            executed = executable.probabilities(split.images)
            parity.append(_parity(name, executed, predict(forward, split.images), split.labels))
            test_predictions = tuple(executed.argmax(axis=1).tolist())
    return Evidence(
        file_sha256=read(path).sha256,
        file_bytes=interface.size_bytes,
        format=interface.format,
        checks=tuple(checks),
        parity=tuple(parity),
        test_predictions=test_predictions,
    )


def _parity(
    split: str,
    executed: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
) -> Parity:
    import numpy as np

    difference = np.abs(executed - expected)
    given, wanted = executed.argmax(axis=1), expected.argmax(axis=1)
    flipped = np.flatnonzero(given != wanted)
    return Parity(
        split=split,
        images=len(labels),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        label_flips=len(flipped),
        flipped=tuple(flipped[:FLIPPED_SHOWN].tolist()),
        file_accuracy=float((given == labels).mean()),
        model_accuracy=float((wanted == labels).mean()),
    )


def _structure(interface: Interface, candidate: Candidate) -> list[Check]:
    """The properties that few images would betray."""
    import numpy as np

    from architectures.registry import head_of
    from conversion.naming import INPUT_NAME, LABEL_NAME, OUTPUT_NAME
    from experiments.classifier import PIXEL_SCALE, network_of

    height, width, channels = candidate.dataset.input_shape
    image = interface.input
    head = str(head_of(network_of(candidate.classifier)))
    compared = (
        ("input name", INPUT_NAME, image.name),
        ("probabilities output", OUTPUT_NAME, interface.probabilities_name),
        ("label output", LABEL_NAME, interface.label_name),
        ("image size", f"{width}x{height}", f"{image.width}x{image.height}"),
        ("image colour", "GRAYSCALE" if channels == 1 else "RGB", image.color),
        ("image scale", str(np.float32(PIXEL_SCALE)), str(np.float32(image.scale))),
        ("image bias", str((0.0,) * channels), str(tuple(image.bias))),
        ("label count", str(len(candidate.dataset.class_names)), str(len(interface.labels))),
        ("label order", str(candidate.dataset.class_names), str(interface.labels)),
        ("last layer", head, interface.head),
        ("run id", candidate.run.run_id, interface.metadata.user_defined.get("run_id", "none")),
        (
            "dataset digest",
            candidate.dataset.digest,
            interface.metadata.user_defined.get("dataset_digest", "none"),
        ),
    )
    return [Check(name, expected == found, expected, found) for name, expected, found in compared]


def parser() -> Parser:
    made = Parser("conversion.verify", "Execute a saved Core ML file and compare it with the model of a run.")
    made.add_argument("file", type=Path, help="a Core ML file (.mlmodel)")
    made.add_argument("--run", required=True, metavar="RUN_ID", help="MLflow run whose model the file should be")
    add_common(made)
    return made


def add_common(made: Parser) -> None:
    """The options that `conversion.promote` shares."""
    made.add_argument("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    made.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="MODULE",
        help="module or .py file that defines the model's layers or data set; repeatable",
    )


def show(evidence: Evidence) -> None:
    """Print checks and parity."""
    for check in evidence.checks:
        detail = "" if check.passed else f"  expected {check.expected}, found {check.found}"
        print(f"  {'ok  ' if check.passed else 'FAIL'} {check.name}{detail}")
    for parity in evidence.parity:
        print(
            f"  {parity.split}: {parity.images} images executed, accuracy of the file {parity.file_accuracy:.4f} "
            f"(model {parity.model_accuracy:.4f}), largest difference {parity.max_difference:.1e}, "
            f"{parity.label_flips} labels differ"
        )


def _body(arguments: argparse.Namespace) -> int:
    from conversion import runtime

    runtime.load(arguments.file)  # a damaged file is told before TensorFlow is imported
    from conversion.candidate import load_candidate
    from experiments.tracking import Tracker, default_uri

    tracker = Tracker(arguments.tracking_uri or default_uri(), create=False)
    candidate = load_candidate(tracker, name="", run_id=arguments.run, plugins=tuple(arguments.plugins))
    evidence = verify(arguments.file, candidate)
    if arguments.json:
        print_json(
            {
                "run_id": arguments.run,
                "file": str(arguments.file),
                "verified": evidence.verified,
                "faults": evidence.faults,
                **asdict(evidence),
            }
        )
    else:
        print(f"{arguments.file}: {'verified' if evidence.verified else 'DIFFERS'} against run {arguments.run}")
        show(evidence)
    for fault in evidence.faults:
        print(f"error: {fault}", file=sys.stderr)
    return 0 if evidence.verified else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
