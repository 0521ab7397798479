"""Run a saved Core ML file and compare it with its model.

Two comparisons make the first verdict. Each weight in the file must be the model's after the file's compression, by a
rule that holds for every element. And the file's answers must be those of the model with these weights, its twin, up to
the rounding of float32, which is measured on the model itself (`parity`). Where the weights cannot be put back into the
model, its own conversion takes the twin's place (`comparison`). What the compression costs is the second comparison,
with the model as it was trained; how much of that is too much is for the gate to say.
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
from conversion.verification.checks import COMPRESSION_KEY, Check, check, structural_checks
from conversion.verification.comparison import Executed, ModelComparison, Route, compare_with_model
from conversion.verification.compression_bounds import RULES
from conversion.verification.native import Native
from conversion.verification.parity import Parity, arithmetics, parities
from conversion.verification.reference_model import Weight
from conversion.verification.threshold import THRESHOLD_KEY, Refusals, allowed_refusals, refusals, threshold_in
from experiments.datasets import Split
from experiments.evaluation.metrics import Evaluation, evaluate
from experiments.tracking import Look, Tracker

HALF_IMAGES = 200  # of the validation split, computed in float16 too: some tenths of a second
NOT_RUN = Native("not run: the file differs")
NEEDED_TO_EXECUTE = frozenset({"image size", "image colour", "label count"})


@dataclass(frozen=True)
class Evidence:
    """What running and reading a file showed."""

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
    threshold: float | None = None  # confidence from which on the file's guess is an answer; None: it names none
    refusals: tuple[Refusals, ...] = ()  # what the threshold refuses, on val, then on test
    half: Half | None = None  # what float16 changes, on the first validation images; None: not executed
    arithmetic: tuple[Parity, ...] = ()  # the file in float32 and in float16 with the model as trained, on these images

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
        """What was compared with which model, and the result: the rows of one table."""
        model = "model with its weights" if self.route == "twin" else "model"
        rows = [(f"{part.executed} against {model}", part) for part in self.parity]
        if self.compression != "none" or not rows:
            rows += [(f"{part.executed} against uncompressed model", part) for part in self.original]
        return tuple(rows)

    @property
    def arithmetic_rows(self) -> tuple[tuple[str, str, str], ...]:
        """The file in float32 and in float16, side by side: the rows of one table, the header first."""
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
        """The comparison with the model, up to the rounding of float32."""
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
    half_images: int | None = HALF_IMAGES,
    accumulation: str = "float32",
) -> Evidence:
    """Run a file on the whole validation and test splits and compare it with its model.

    Args:
        path: an `.mlmodel` file or an `.mlpackage` folder.
        compression: what was asked for, if known; otherwise the file's own word is held against what it stores.
        worth_a_look: whether to go on to the test images; asked with the evidence that needs none of them.
        half_images: validation images that are computed in float16 too; None: all.
        accumulation: what float16 sums in, one of `half.ACCUMULATIONS`.

    Raises:
        CorruptModel: if the file cannot be read.
        NotCheckable: if it holds something that the executor does not know, or a weight in an unknown form.

    An example stands in docs/api.md.
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
        """The evidence, extended by more splits."""
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
    """Whether the file names a known compression, the requested one, and the one that it really uses."""

    found = {weight.rule for weight in weights if weight.kernel and weight.elements >= SMALLEST_KERNEL}
    if claimed not in COMPRESSIONS:
        return [Check("compression", False, asked or f"one of {', '.join(COMPRESSIONS)}", claimed)]
    compressed = claimed == "none" or claimed in found or "" in found or not found
    return [
        check("compression", asked or claimed, claimed),
        Check("stored compression", compressed, claimed, claimed if compressed else ", ".join(sorted(found))),
    ]


def _threshold_checks(
    user_defined: Mapping[str, str], answers: Mapping[str, npt.NDArray[np.float32]], splits: Mapping[str, Split]
) -> list[Check]:
    """Whether the file's threshold, if it has one, refuses no more validation images than its rule allows."""
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
    """As `verify`, against the kept model of a run; raises UsageError for an unknown one."""
    tracker = Tracker(tracking_uri, create=False)
    candidate = load_candidate(tracker, command="conversion.verify", name="", run_id=run_id, plugins=plugins)
    return candidate, verify(path, candidate, half_images=half_images, accumulation=accumulation)
