"""Execute a saved Core ML file and compare it with its model.  Run: python -m conversion.verify FILE --run RUN_ID

Two comparisons make the first verdict. Each weight in the file must be the model's after the file's compression, by a
rule that holds for every element. And the file's answers must be those of the model with these weights, its twin, up to
the rounding of float32, which is measured on the model itself (`conversion.parity`). Where the weights cannot be put
back into the model, its own conversion takes the twin's place (`conversion.comparison`). What the compression costs is
the second comparison, with the model as it was trained; how much of that is too much is for the gate to say.

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
from architectures.display import say
from architectures.fields import PluginName
from conversion.native import Native
from conversion.structure import COMPRESSION_KEY, Check, check, structural_checks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from conversion.candidate import Candidate
    from conversion.comparison import Route
    from conversion.parity import Parity
    from conversion.runtime.half import Half
    from conversion.twin import Weight
    from experiments.datasets import Split
    from experiments.evaluation import Evaluation
    from experiments.tracking import Look

HALF_IMAGES = 500  # of the validation split, computed in float16 too: a second or two
NOT_RUN = Native("not run: the file differs")
NEEDED_TO_EXECUTE = frozenset({"image size", "image colour", "label count"})


@dataclass(frozen=True)
class Evidence:
    """What executing and reading a file showed."""

    file_sha256: str
    file_bytes: int
    format: str
    compression: str  # by the file's metadata
    minimum_ios: int | None  # oldest iOS whose Core ML reads the file; None for a version that is not known
    checks: tuple[Check, ...]
    weights: tuple[Weight, ...] = ()
    route: Route = "none"  # how weights and answers were compared with the model's
    parity: tuple[Parity, ...] = ()  # of what was executed with the model, within rounding; on val, then on test
    original: tuple[Parity, ...] = ()  # of the file with the model as it was trained
    native: Native = NOT_RUN
    test_predictions: tuple[int, ...] = ()  # label indices, of the executed file
    test_evaluation: Evaluation | None = None  # of the executed file; None, as the next, where it saw no test image
    test_look: Look | None = None  # at the test images
    half: Half | None = None  # what float16 changes, on the first validation images; None: not executed

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything in which the file differs from its model, in words; empty for a verified file."""
        found = [f"{check.name}: {check.found}, not {check.expected}" for check in self.checks if not check.passed]
        found += [weight.fault for weight in self.weights if weight.fault]
        found += [fault for parity in self.parity for fault in parity.faults]
        if self.native.fault:
            found.append(self.native.fault)
        return tuple(found)

    @property
    def differences(self) -> tuple[tuple[str, Parity], ...]:
        """What was executed against which model, in words, and what came out: the rows of one table."""
        model = "model with its weights" if self.route == "twin" else "model"
        rows = [(f"{part.executed} against {model}", part) for part in self.parity]
        if self.compression != "none" or not rows:
            rows += [(f"{part.executed} against uncompressed model", part) for part in self.original]
        return tuple(rows)

    @property
    def verified(self) -> bool:
        return not self.faults

    def on(self, split: str) -> Parity:
        """What was executed against the model, within the rounding of float32."""
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
    half_images: int = HALF_IMAGES,
    accumulation: str = "float32",
) -> Evidence:
    """Execute a file on the whole validation and test splits and hold it against its model.

    Args:
        path: an `.mlmodel` file or an `.mlpackage` folder.
        candidate: the model that it should be.
        compression: what was asked for, if known; otherwise the file's own word is held against what it stores.
        worth_a_look: whether to go on to the test images; asked with the evidence that needs none of them.
        half_images: validation images that are computed in float16 too.
        accumulation: what float16 sums in, one of `half.ACCUMULATIONS`.

    Raises:
        CorruptModel: if the file cannot be read.
        NotCheckable: if it holds something that the executor does not know, or a weight in an unknown form.

    An example stands in docs/api.md.
    """
    from conversion import native, runtime
    from conversion.comparison import Comparison, Executed, compare_with_model
    from conversion.compress import IOS_OF_SPECIFICATION
    from conversion.coreml_file import read
    from conversion.parity import parities
    from conversion.rules import RULES
    from conversion.runtime import half
    from experiments.evaluation import evaluate

    executable = runtime.load(path)
    interface = executable.interface
    claimed = interface.metadata.user_defined.get(COMPRESSION_KEY, "none")
    checks = tuple(structural_checks(interface, candidate))
    splits: dict[str, Split] = {}
    answers: dict[str, npt.NDArray[np.float32]] = {}

    def compared(evidence: Evidence, *names: str) -> Evidence:
        """The evidence with that of more splits."""
        more = {name: candidate.split(name) for name in names}
        splits.update(more)
        answers.update({name: executable.probabilities(split.images) for name, split in more.items()})
        file = Executed(executable, claimed if claimed in RULES else "none", answers)
        try:
            comparison = compare_with_model(file, candidate, more)
            if comparison.route == evidence.route:
                comparison = replace(comparison, parity=(*evidence.parity, *comparison.parity))
            elif len(splits) > len(more):  # the route that was enough for the first images is not for these
                comparison = compare_with_model(file, candidate, splits)
        except runtime.NotCheckable as error:
            if all(check.passed for check in checks):
                raise runtime.NotCheckable(f"{path}: {error}") from error
            comparison = Comparison()  # the file differs, whatever it computes
        return replace(
            evidence,
            checks=(*checks, *_compression_checks(claimed, compression, comparison.weights)),
            weights=comparison.weights,
            route=comparison.route,
            parity=comparison.parity,
            original=(*evidence.original, *parities(more, answers, candidate.forward)),
        )

    evidence = Evidence(
        file_sha256=read(path).sha256,
        file_bytes=interface.size_bytes,
        format=interface.format,
        compression=claimed,
        minimum_ios=IOS_OF_SPECIFICATION.get(interface.specification_version),
        checks=checks,
    )
    if not all(check.passed for check in checks if check.name in NEEDED_TO_EXECUTE):
        return compared(evidence)
    evidence = compared(evidence, "val")
    _, halved = half.compare(
        path,
        splits["val"].images[:half_images],
        accumulation=accumulation,
        exact=answers["val"][:half_images],
    )
    evidence = replace(evidence, half=halved)
    evidence = replace(evidence, native=native.compare(path, executable, candidate.dataset.val.images))
    if not worth_a_look(evidence):
        return evidence
    evidence = compared(evidence, "test")
    return replace(
        evidence,
        test_predictions=tuple(answers["test"].argmax(axis=1).tolist()),
        test_evaluation=evaluate(
            answers["test"], splits["test"].labels, candidate.dataset.class_names, splits["test"].files
        ),
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


def parser() -> Parser:
    made = Parser("conversion.verify", "Execute a saved Core ML file and compare it with the model of a run.")
    made.add_argument("file", type=Path, help="a Core ML file (.mlmodel or .mlpackage)")
    made.add_argument(
        "--run",
        required=True,
        metavar="RUN_ID",
        help="MLflow run whose model the file should be: its id, a prefix of it, or its name",
    )
    made.add_argument(
        "--compute",
        choices=("float32", "float16"),
        default="float32",
        help=f"float16: simulate a phone's arithmetic on all validation images, not on {HALF_IMAGES:,} alone",
    )
    made.add_argument(
        "--accumulate", choices=("float32", "float16"), default="float32", help="what float16 sums in within a layer"
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
        type=PluginName(),
        metavar="MODULE",
        help="module or .py file that defines the model's layers or data set; repeatable",
    )


def show(evidence: Evidence) -> None:
    """Print checks, weights and what executing showed."""
    for one in evidence.checks:
        detail = "" if one.passed else f"  expected {one.expected}, found {one.found}"
        say(f"  {'ok  ' if one.passed else 'FAIL'} {one.name}{detail}")
    if evidence.weights:
        obeyed = sum(not weight.fault for weight in evidence.weights)
        complete = obeyed == len(evidence.weights)
        say(
            f"  {'ok  ' if complete else 'FAIL'} weights  {obeyed} of {len(evidence.weights)} tensors are the model's, "
            f"compression {evidence.compression}"
        )
    else:
        say("  -    weights  not compared")
    for part in evidence.original:
        say(
            f"  {part.split}: {part.images} images executed, accuracy of the file {part.file_accuracy:.4f} "
            f"(model {part.model_accuracy:.4f})"
        )
    if evidence.differences:
        say(f"  {'differences of probabilities':37} {'split':5} {'largest':>8} {'allowed':>8} {'labels differ':>14}")
    for against, part in evidence.differences:
        allowed = "any" if part.allowance is None else f"{part.allowance:.1e}"
        say(f"  {against:37} {part.split:5} {part.max_difference:8.1e} {allowed:>8} {part.label_flips:14}")
    if evidence.half:
        say(f"  {evidence.half.text}")
    say(f"  Apple's runtime: {evidence.native.status}")
    if evidence.test_look:
        say(f"  This was {evidence.test_look.text}.")


def _body(arguments: argparse.Namespace) -> int:
    from conversion import runtime

    runtime.load(arguments.file)  # a damaged file is told before TensorFlow is imported
    from conversion.candidate import load_candidate
    from experiments.tracking import Tracker, default_uri

    tracker = Tracker(arguments.tracking_uri or default_uri(), create=False)
    candidate = load_candidate(
        tracker, command="conversion.verify", name="", run_id=arguments.run, plugins=tuple(arguments.plugins)
    )
    images = len(candidate.dataset.val.images) if arguments.compute == "float16" else HALF_IMAGES
    evidence = verify(arguments.file, candidate, half_images=images, accumulation=arguments.accumulate)
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
        say(f"{arguments.file}: {'verified' if evidence.verified else 'DIFFERS'} against run {candidate.run.run_id}")
        show(evidence)
    for fault in evidence.faults:
        say(f"error: {fault}", file=sys.stderr)
    return 0 if evidence.verified else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
