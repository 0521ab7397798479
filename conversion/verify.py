"""Execute a saved Core ML file and compare it with its model.  Run: python -m conversion.verify FILE --run RUN_ID

Two comparisons make the first verdict. Each weight in the file must be the model's after the file's compression, by a
rule that holds for every element. And the file's answers must be those of the model with these weights, its twin, so
that the tolerance stays that of float32 for every compression. What the compression costs is the second comparison,
with the model as it was trained; how much of that is too much is for the gate to say.

Exit codes: 0 verified, 1 differs, 3 not checkable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.command import Parser, print_json, run
from conversion.native import Native
from conversion.structure import COMPRESSION_KEY, Check, check, structural_checks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from conversion.candidate import Candidate
    from conversion.twin import Weight
    from experiments.evaluation import Evaluation
    from experiments.tracking import Look

PARITY_TOLERANCE = 1e-5  # probability; honest files differ by 1e-6 in any compression, an image scale of 1/256 by 4e-4
NOT_RUN = Native("not run: the file differs")
FLIPPED_SHOWN = 20  # images whose top-1 label differs, named in the evidence
NEEDED_TO_EXECUTE = frozenset({"image size", "image colour", "label count"})


@dataclass(frozen=True)
class Flip:
    """One image that the file labels otherwise than the model."""

    index: int  # in the split
    true_label: int
    model_label: int
    file_label: int


@dataclass(frozen=True)
class Parity:
    """The file against a model on one split."""

    split: str
    images: int
    max_difference: float  # of a probability
    mean_difference: float  # of a probability
    label_flips: int  # images whose top-1 label differs
    flipped: tuple[int, ...]  # their first indices in the split
    file_accuracy: float  # of the executed file
    model_accuracy: float  # of the Keras model
    flips: tuple[Flip, ...] = ()  # the images of `flipped`


@dataclass(frozen=True)
class Evidence:
    """What executing and reading a file showed."""

    file_sha256: str
    file_bytes: int
    format: str
    compression: str  # by the file's metadata
    minimum_ios: int | None  # oldest iOS whose Core ML reads the file; None for a version that is not known
    checks: tuple[Check, ...]
    weights: tuple[Weight, ...]
    parity: tuple[Parity, ...] = ()  # against the twin: the model with the file's weights; on val, then on test
    original: tuple[Parity, ...] = ()  # against the model as it was trained
    native: Native = NOT_RUN
    test_predictions: tuple[int, ...] = ()  # label indices, of the executed file
    test_evaluation: Evaluation | None = None  # of the executed file; None, as the next, where it saw no test image
    test_look: Look | None = None  # at the test images

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything in which the file differs from its model, in words; empty for a verified file."""
        found = [f"{check.name}: {check.found}, not {check.expected}" for check in self.checks if not check.passed]
        found += [weight.fault for weight in self.weights if weight.fault]
        for parity in self.parity:
            if not parity.max_difference <= PARITY_TOLERANCE:  # also where it is NaN
                found.append(
                    f"probabilities differ from the model's by up to {parity.max_difference:.2e} on {parity.split} "
                    f"images, at most {PARITY_TOLERANCE:.0e} is allowed"
                )
            if parity.label_flips:
                found.append(f"{parity.label_flips} of {parity.images} {parity.split} images get another label")
        if self.native.fault:
            found.append(self.native.fault)
        return tuple(found)

    @property
    def verified(self) -> bool:
        return not self.faults

    def on(self, split: str) -> Parity:
        """The file against its twin."""
        return next(parity for parity in self.parity if parity.split == split)

    def against_original(self, split: str) -> Parity:
        """The file against the model as it was trained."""
        return next(parity for parity in self.original if parity.split == split)


def verify(
    path: Path,
    candidate: Candidate,
    *,
    compression: str | None = None,
    worth_a_look: Callable[[Evidence], bool] = lambda _: True,
) -> Evidence:
    """Execute a file on the whole validation and test splits and hold it against its model.

    Args:
        path: an `.mlmodel` file or an `.mlpackage` folder.
        candidate: the model that it should be.
        compression: what was asked for, if known; otherwise the file's own word is held against what it stores.
        worth_a_look: whether to go on to the test images; asked with the evidence that needs none of them.

    Raises:
        CorruptModel: if the file cannot be read.
        NotCheckable: if it holds something that the executor does not know, or a weight in an unknown form.

    An example stands in docs/api.md.
    """
    from conversion import native, runtime
    from conversion.compress import IOS_OF_SPECIFICATION
    from conversion.coreml_file import read
    from conversion.rules import RULES
    from conversion.twin import Twin, forward_in_half_precision
    from experiments.classifier import network_of, predict
    from experiments.evaluation import evaluate

    executable = runtime.load(path)
    interface = executable.interface
    claimed = interface.metadata.user_defined.get(COMPRESSION_KEY, "none")
    twin = Twin(network_of(candidate.classifier), executable.weights, claimed if claimed in RULES else "none")
    checks = [*structural_checks(interface, candidate), *_compression_checks(claimed, compression, twin.weights)]
    faults = [weight for weight in twin.weights if weight.fault]
    if faults and not any(weight.checkable for weight in faults) and all(check.passed for check in checks):
        raise runtime.NotCheckable(f"{path}: {faults[0].fault}; in which form it could be there is not known here.")

    def execute(evidence: Evidence, name: str) -> tuple[Evidence, npt.NDArray[np.float32]]:
        """The evidence with that of one more split, and the file's answers on it."""
        split = candidate.split(name)
        answers = executable.probabilities(split.images)
        original = _parity(name, answers, predict(candidate.forward, split.images), split.labels)
        with twin.weights_of_the_file():
            scalars_too = twin.in_half_precision and interface.format == "mlprogram"
            forward = forward_in_half_precision(candidate.classifier) if scalars_too else candidate.forward
            parity = _parity(name, answers, predict(forward, split.images), split.labels)
        return replace(evidence, parity=(*evidence.parity, parity), original=(*evidence.original, original)), answers

    evidence = Evidence(
        file_sha256=read(path).sha256,
        file_bytes=interface.size_bytes,
        format=interface.format,
        compression=claimed,
        minimum_ios=IOS_OF_SPECIFICATION.get(interface.specification_version),
        checks=tuple(checks),
        weights=twin.weights,
    )
    if not all(check.passed for check in checks if check.name in NEEDED_TO_EXECUTE):
        return evidence
    evidence, _ = execute(evidence, "val")
    evidence = replace(evidence, native=native.compare(path, executable, candidate.dataset.val.images))
    if not worth_a_look(evidence):
        return evidence
    evidence, answers = execute(evidence, "test")
    return replace(
        evidence,
        test_predictions=tuple(answers.argmax(axis=1).tolist()),
        test_evaluation=evaluate(answers, candidate.split("test").labels, candidate.dataset.class_names),
        test_look=candidate.look,
    )


def _compression_checks(claimed: str, asked: str | None, weights: tuple[Weight, ...]) -> list[Check]:
    """Whether what the file says of its compression is one, is the one asked for, and is what it stores."""
    from conversion.compress import COMPRESSIONS, SMALLEST_KERNEL

    found = {weight.rule for weight in weights if weight.kernel and weight.elements >= SMALLEST_KERNEL}
    if claimed not in COMPRESSIONS:
        return [Check("compression", False, asked or f"one of {', '.join(COMPRESSIONS)}", claimed)]
    compressed = claimed == "none" or claimed in found or "" in found or not found
    return [
        check("compression", asked or claimed, claimed),
        Check("stored compression", compressed, claimed, claimed if compressed else ", ".join(sorted(found))),
    ]


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
    shown = flipped[:FLIPPED_SHOWN].tolist()
    return Parity(
        split=split,
        images=len(labels),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        label_flips=len(flipped),
        flipped=tuple(shown),
        file_accuracy=float((given == labels).mean()),
        model_accuracy=float((wanted == labels).mean()),
        flips=tuple(Flip(i, int(labels[i]), int(wanted[i]), int(given[i])) for i in shown),
    )


def parser() -> Parser:
    made = Parser("conversion.verify", "Execute a saved Core ML file and compare it with the model of a run.")
    made.add_argument("file", type=Path, help="a Core ML file (.mlmodel or .mlpackage)")
    made.add_argument(
        "--run",
        required=True,
        metavar="RUN_ID",
        help="MLflow run whose model the file should be: its id, a prefix of it, or its name",
    )
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
    """Print checks, weights and parity."""
    for one in evidence.checks:
        detail = "" if one.passed else f"  expected {one.expected}, found {one.found}"
        print(f"  {'ok  ' if one.passed else 'FAIL'} {one.name}{detail}")
    obeyed = sum(not weight.fault for weight in evidence.weights)
    complete = obeyed == len(evidence.weights)
    print(
        f"  {'ok  ' if complete else 'FAIL'} weights  {obeyed} of {len(evidence.weights)} tensors are the model's, "
        f"compression {evidence.compression}"
    )
    for parity, original in zip(evidence.parity, evidence.original, strict=True):
        print(
            f"  {parity.split}: {parity.images} images executed, accuracy of the file {parity.file_accuracy:.4f} "
            f"(model {original.model_accuracy:.4f}), largest difference {parity.max_difference:.1e}, "
            f"{parity.label_flips} labels differ"
        )
        if evidence.compression != "none":
            print(
                f"  {parity.split}: against the uncompressed model largest difference {original.max_difference:.1e}, "
                f"mean {original.mean_difference:.1e}, {original.label_flips} labels differ"
            )
    print(f"  Apple's runtime: {evidence.native.status}")
    if evidence.test_look:
        print(f"  This was {evidence.test_look.text}.")


def _body(arguments: argparse.Namespace) -> int:
    from conversion import runtime

    runtime.load(arguments.file)  # a damaged file is told before TensorFlow is imported
    from conversion.candidate import load_candidate
    from experiments.tracking import Tracker, default_uri

    tracker = Tracker(arguments.tracking_uri or default_uri(), create=False)
    candidate = load_candidate(
        tracker, command="conversion.verify", name="", run_id=arguments.run, plugins=tuple(arguments.plugins)
    )
    evidence = verify(arguments.file, candidate)
    if arguments.json:
        print_json(
            {
                "run_id": candidate.run.run_id,
                "file": str(arguments.file),
                "verified": evidence.verified,
                "faults": evidence.faults,
                **asdict(evidence),
            }
        )
    else:
        print(f"{arguments.file}: {'verified' if evidence.verified else 'DIFFERS'} against run {candidate.run.run_id}")
        show(evidence)
    for fault in evidence.faults:
        print(f"error: {fault}", file=sys.stderr)
    return 0 if evidence.verified else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
