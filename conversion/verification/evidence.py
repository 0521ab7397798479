"""Run a saved Core ML file and compare it with its model.

The verdict comes from two comparisons. Each weight in the file must be the model's weight after compression, by a rule
for every element. And the file's predictions must be those of the model with these weights, up to float32 rounding,
which is measured on the model itself (`parity`). If the weights cannot be put back into the model, its own conversion
is used instead (`comparison`). A third comparison, with the model as trained, shows what the compression costs; how
much is acceptable is decided by the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conversion import runtime
from conversion.coreml.compress import SMALLEST_KERNEL
from conversion.coreml.file import read
from conversion.coreml.formats import COMPRESSIONS, IOS_OF_SPECIFICATION
from conversion.promotion.candidate import Candidate, load_candidate
from conversion.runtime import half
from conversion.runtime.half import Half
from conversion.verification import native
from conversion.verification.checks import COMPRESSION_KEY, Check, check_equal, structural_checks
from conversion.verification.comparison import Executed, ModelComparison, Route, compare_with_model
from conversion.verification.compression_bounds import RULES
from conversion.verification.native import Native
from conversion.verification.parity import Parity, arithmetics, parities
from conversion.verification.reference_model import Weight
from conversion.verification.threshold import THRESHOLD_KEY, Refusals, allowed_refusals, refusals, threshold_in
from experiments.datasets import Split
from experiments.evaluation.metrics import Evaluation, evaluate
from experiments.tracking import Look, Tracker

HALF_IMAGES = 200  # of the validation split, also computed in float16: takes a few tenths of a second
NOT_RUN = Native("not run: the file differs")
NEEDED_TO_EXECUTE = frozenset({"image size", "image colour", "label count"})


@dataclass(frozen=True)
class Evidence:
    """What was found by reading and running a file."""

    file_sha256: str
    file_bytes: int
    format: str
    compression: str  # from the file's metadata
    minimum_ios: int | None  # oldest iOS that can read the file; None: unknown version
    checks: tuple[Check, ...]
    weights: tuple[Weight, ...] = ()
    route: Route = "none"  # how weights and predictions were compared
    parity: tuple[Parity, ...] = ()  # compared within rounding, on val, then on test
    original: tuple[Parity, ...] = ()  # the file compared with the model as trained
    native: Native = NOT_RUN
    test_predictions: tuple[int, ...] = ()  # label indices predicted by the file
    test_evaluation: Evaluation | None = None  # of the file; None, like the next, if it saw no test image
    test_look: Look | None = None  # at the test images
    threshold: float | None = None  # lowest confidence that counts as an answer; None: the file has none
    refusals: tuple[Refusals, ...] = ()  # what the threshold refuses, on val, then on test
    half: Half | None = None  # effect of float16 on the first validation images; None: not run
    arithmetic: tuple[Parity, ...] = ()  # float32 and float16 compared with the model as trained, on the same images

    @property
    def faults(self) -> tuple[str, ...]:
        """All differences between the file and its model, in words; empty for a verified file."""
        found = [f"{check.name}: {check.found}, not {check.expected}" for check in self.checks if not check.passed]
        found += [weight.fault for weight in self.weights if weight.fault]
        found += [fault for parity in self.parity for fault in parity.faults]
        if self.native.fault:
            found.append(self.native.fault)
        return tuple(found)

    @property
    def differences(self) -> tuple[tuple[str, Parity], ...]:
        """What was compared with which model, and the result, as rows of a table."""
        model = "model with its weights" if self.route == "twin" else "model"
        rows = [(f"{part.executed} against {model}", part) for part in self.parity]
        if self.compression != "none" or not rows:
            rows += [(f"{part.executed} against uncompressed model", part) for part in self.original]
        return tuple(rows)

    @property
    def arithmetic_rows(self) -> tuple[tuple[str, str, str], ...]:
        """The file in float32 and float16, side by side, as rows of a table with a header."""
        if not self.half or not self.arithmetic:
            return ()
        exact, halved = self.arithmetic
        blamed = self.half.blamed or ("none",)
        return (
            (f"val, {exact.images:,} images, against the model", "float32", "float16, simulated"),
            ("accuracy", f"{exact.file_accuracy:.4f}", f"{halved.file_accuracy:.4f}"),
            ("labels that differ", f"{exact.label_flips:,}", f"{halved.label_flips:,}"),
            ("probability moved, at most", f"{exact.max_difference:.1e}", f"{halved.max_difference:.1e}"),
            ("probability moved, mean", f"{exact.mean_difference:.1e}", f"{halved.mean_difference:.1e}"),
            ("layer to blame", "", blamed[0]),
            *(("", "", more) for more in blamed[1:]),
        )

    @property
    def verified(self) -> bool:
        return not self.faults

    def on(self, split: str) -> Parity:
        """Return the comparison with the model within rounding."""
        return next(parity for parity in self.parity if parity.split == split)

    def against_original(self, split: str) -> Parity:
        """Return the comparison of the file with the model as trained."""
        return next(parity for parity in self.original if parity.split == split)


def verify(
    path: Path,
    candidate: Candidate,
    *,
    compression: str | None = None,
    worth_a_look: Callable[[Evidence], bool] = lambda _: True,
    half_images: int | None = HALF_IMAGES,
    accumulation: str = "float32",
) -> Evidence:
    """Run a file on the whole validation and test splits, and compare it with its model.

    Args:
        path: an `.mlmodel` file or an `.mlpackage` folder.
        compression: the requested one, if known; otherwise, the one in the file's metadata is checked.
        worth_a_look: called with the evidence so far; returns whether to continue with the test images.
        half_images: number of validation images that are also computed in float16; None: all.
        accumulation: precision of sums in float16, one of `half.ACCUMULATIONS`.

    Raises:
        CorruptModel: if the file cannot be read.
        NotCheckable: if it has something that the executor does not support, or a weight of unknown form.

    docs/api.md has an example.
    """
    executable = runtime.load(path)
    interface = executable.interface
    claimed = interface.metadata.user_defined.get(COMPRESSION_KEY, "none")
    checks = tuple(structural_checks(interface, candidate))
    threshold = threshold_in(interface.metadata.user_defined)
    splits: dict[str, Split] = {}
    answers: dict[str, npt.NDArray[np.float32]] = {}

    def refused(name: str, split: Split) -> Refusals:
        return refusals(name, answers[name], split.labels, threshold or 0.0)

    def compared(evidence: Evidence, *names: str) -> Evidence:
        """Return the evidence with more splits added."""
        more = {name: candidate.split(name) for name in names}
        splits.update(more)
        answers.update({name: executable.probabilities(split.images) for name, split in more.items()})
        file = Executed(executable, claimed if claimed in RULES else "none", answers)
        try:
            comparison = compare_with_model(file, candidate, more)
            if comparison.route == evidence.route:
                comparison = replace(comparison, parity=(*evidence.parity, *comparison.parity))
            elif len(splits) > len(more):  # the route that worked for the first images does not work for these
                comparison = compare_with_model(file, candidate, splits)
        except runtime.NotCheckable as error:
            if all(check.passed for check in checks):
                raise runtime.NotCheckable(f"{path}: {error}") from error
            comparison = ModelComparison()  # the file differs, whatever it computes
        return replace(
            evidence,
            checks=(
                *checks,
                *_compression_checks(claimed, compression, comparison.weights),
                *_threshold_checks(interface.metadata.user_defined, answers, splits),
            ),
            weights=comparison.weights,
            route=comparison.route,
            parity=comparison.parity,
            original=(*evidence.original, *parities(more, answers, candidate.forward)),
            refusals=(*evidence.refusals, *(refused(name, split) for name, split in more.items() if threshold)),
        )

    evidence = Evidence(
        file_sha256=read(path).sha256,
        file_bytes=interface.size_bytes,
        format=interface.format,
        compression=claimed,
        minimum_ios=IOS_OF_SPECIFICATION.get(interface.specification_version),
        checks=checks,
        threshold=threshold,
    )
    if not all(check.passed for check in checks if check.name in NEEDED_TO_EXECUTE):
        return compared(evidence)
    evidence = compared(evidence, "val")
    some = Split(splits["val"].images[:half_images], splits["val"].labels[:half_images])
    exact = answers["val"][:half_images]
    rounded, halved = half.compare(path, some.images, accumulation=accumulation, exact=exact)
    arithmetic = arithmetics(some, {"float32": exact, "float16": rounded}, candidate.forward)
    evidence = replace(evidence, half=halved, arithmetic=arithmetic)
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
    """Check that the file names a known compression, the requested one, and the one that it uses."""

    found = {weight.rule for weight in weights if weight.kernel and weight.elements >= SMALLEST_KERNEL}
    if claimed not in COMPRESSIONS:
        return [Check("compression", False, asked or f"one of {', '.join(COMPRESSIONS)}", claimed)]
    compressed = claimed == "none" or claimed in found or "" in found or not found
    return [
        check_equal("compression", asked or claimed, claimed),
        Check("stored compression", compressed, claimed, claimed if compressed else ", ".join(sorted(found))),
    ]


def _threshold_checks(
    user_defined: Mapping[str, str], answers: Mapping[str, npt.NDArray[np.float32]], splits: Mapping[str, Split]
) -> list[Check]:
    """Check that the file's threshold, if any, refuses no more validation images than its rule allows."""
    if THRESHOLD_KEY not in user_defined:
        return []
    text, threshold = user_defined[THRESHOLD_KEY], threshold_in(user_defined)
    if threshold is None:
        return [Check("threshold", False, "a plain number from 0 to 1", text)]
    if "val" not in answers:
        return []
    found = refusals("val", answers["val"], splits["val"].labels, threshold)
    most = allowed_refusals(found.right)
    told = f"{text}, which refuses {found.right_refused:,} of {found.right:,} validation images read right"
    return [Check("threshold", found.right_refused <= most, f"one that refuses at most {most:,}", told)]


def verify_run(
    path: Path,
    run_id: str,
    *,
    tracking_uri: str,
    plugins: tuple[str, ...] = (),
    half_images: int | None = HALF_IMAGES,
    accumulation: str = "float32",
) -> tuple[Candidate, Evidence]:
    """Verify a file against the kept model of a run; see `verify`. Raise UsageError for an unknown run."""
    tracker = Tracker(tracking_uri, create=False)
    candidate = load_candidate(tracker, command="conversion.verify", name="", run_id=run_id, plugins=plugins)
    return candidate, verify(path, candidate, half_images=half_images, accumulation=accumulation)
