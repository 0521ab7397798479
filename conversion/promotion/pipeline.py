"""Run a promotion, from its configuration to its result.

A file ships only if it was run here and agrees with its model; otherwise nothing is changed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from conversion.coreml.convert import coremltools
from conversion.coreml.formats import FORMATS, check_available
from conversion.coreml.writing import clear, write
from conversion.promotion.candidate import Candidate, load_candidate
from conversion.promotion.champion import Champion, load_champion
from conversion.promotion.compression_search import choose_compression, measured_on
from conversion.promotion.config import DEFAULT_MODEL, PromoteConfig
from conversion.promotion.gate import Decision, judge
from conversion.promotion.in_place import InPlace, check_in_place, taken
from conversion.promotion.place import default_output, output_path
from conversion.promotion.publish import Overtaken, publish, record_refusal
from conversion.promotion.report import Examination, summary
from conversion.promotion.switch import settle_left_over
from conversion.runtime import load
from conversion.verification.evidence import Evidence, verify
from experiments.tracking import Current, PromotionRecord, Tracker, VersionRecord


@dataclass(frozen=True)
class Promotion:
    """A promotion that was decided and, except for a dry run, made."""

    examination: Examination
    path: Path
    version: VersionRecord | None  # None if nothing was promoted and the run was not registered
    record: PromotionRecord | None  # None for a dry run or a refusal
    page: str | None  # place of promotion.html: a path, or a URI on a server; None for a dry run
    seconds: float  # without start-up

    def as_json(self) -> dict[str, object]:
        return summary(self.examination) | {
            "file": str(self.path),
            "registered_model": self.version.registered_name if self.version else None,
            "version": self.version.version if self.version else None,
            "promotion_model": self.record.name if self.record else None,
            "promotion": self.record.number if self.record else None,
            "previous_promotion": self.record.previous if self.record else None,
            "page": self.page,
            "seconds": self.seconds,
        }


class PromotionRefused(ProjectError):
    """A promotion was refused; no alias and no file was changed. Exit code 3."""

    exit_code = 3

    def __init__(self, reasons: tuple[str, ...], report: Mapping[str, object], promotion: Promotion) -> None:
        super().__init__("Promotion refused: " + "; ".join(reasons) + ".")
        self.reasons = reasons
        self.promotion = promotion  # which was not made
        self.report = report  # the evidence, JSON-ready; its `report` says where it was written


def promote(config: PromoteConfig) -> Promotion:
    """Promote a model.

    Raises:
        UsageError: for an unknown run, version or registered model.
        PromotionRefused: with every reason; no alias and no file was changed, and the refusal was recorded.
        NotCheckable: if the file cannot be run here, which cannot be overridden; nothing was changed.
        ProjectError: if there is nothing to convert, or the file cannot be written.

    docs/api.md has an example.
    """
    if config.compress != "auto":
        check_available(config.format or "mlmodel", config.compress)
    tracker = Tracker(config.tracking_uri, create=False)
    candidate = load_candidate(
        tracker,
        command="conversion.promote --dry-run" if config.dry_run else "conversion.promote",
        name=config.model or DEFAULT_MODEL,
        run_id=config.run_id,
        version=config.version,
        prefer=config.prefer,
        plugins=config.plugins,
        author=config.author,
        license=config.license,
    )
    if not config.dry_run:
        tracker.runs.check_not_deleted(candidate.run.run_id)  # a promotion cannot be recorded in a deleted experiment
    coremltools()  # imported before the clock starts
    started = time.perf_counter()
    registered_name = _registered_name(tracker, candidate, config.model)
    version = tracker.registry.registered(registered_name, candidate.model)
    converter, choice = candidate.converter, None
    if config.compress == "auto":
        formats = (config.format,) if config.format else FORMATS
        choice = choose_compression(
            converter, candidate.dataset.val, formats=formats, max_accuracy_loss=config.max_accuracy_loss
        )
        file, compression, measured = choice.file, choice.chosen.compression, choice.measured
    else:
        compression = config.compress
        file = converter.file(format=config.format or "mlmodel", compression=compression)
        measured = measured_on(file, candidate.dataset.val)
    # The file records its own accuracy, not the model's, and its threshold.
    file = converter.file(format=file.format, compression=compression, measured=measured)
    dataset = candidate.dataset
    usual = default_output(registered_name, image=dataset.input_shape, labels=dataset.class_names)
    path = output_path(config.output, usual, file.format)
    if not config.dry_run:
        settle_left_over(tracker, registered_name)
        clear(path)
    judged = tracker.promotions.current(registered_name)
    champion: Champion | ProjectError | None
    try:
        champion = load_champion(tracker, registered_name)
        judged = champion.current if champion else Current(None, None)
    except ProjectError as error:
        champion = error
    with scratch_folder() as folder:
        saved = folder / path.name
        write(file, saved)
        interface = load(saved).interface
        occupied = taken(path, tracker, name=registered_name, dataset=dataset.name)

        def decide(evidence: Evidence) -> Decision:
            return judge(config, candidate, evidence, interface, champion=champion, path=path, taken=occupied)

        evidence = verify(
            saved,
            candidate,
            compression=compression,
            worth_a_look=lambda evidence: decide(evidence).outcome != "refused",
        )
    decision = decide(evidence)
    examination = Examination(candidate, file, interface, choice, evidence, decision, datetime.now(UTC))

    def refusal(examination: Examination) -> PromotionRefused:
        report = record_refusal(tracker, examination, version)
        page = tracker.models.place_in_model(candidate.model.model_id, f"{report}/promotion.html")
        refused = Promotion(examination, path, version, None, page, time.perf_counter() - started)
        return PromotionRefused(examination.decision.reasons, refused.as_json() | {"report": report}, refused)

    record = page = None
    if not config.dry_run:
        if decision.outcome == "refused":
            raise refusal(examination)
        try:
            version, record = publish(
                tracker, examination, name=registered_name, path=path, judged=judged, taken=occupied
            )
        except Overtaken as overtaken:
            raise refusal(replace(examination, decision=decision.overtaken(str(overtaken)))) from None
        page = tracker.models.place_in_model(record.model_id, "promotion.html")
    return Promotion(examination, path, version, record, page, time.perf_counter() - started)


def _registered_name(tracker: Tracker, candidate: Candidate, asked: str | None) -> str:
    """Return the registered model that a promotion goes to."""
    if asked:
        return asked
    if isinstance(candidate.model, VersionRecord):
        return candidate.model.registered_name
    return tracker.registry.registered_name(candidate.run.run_id) or f"{candidate.dataset.name}-classifier"


def check(config: PromoteConfig) -> InPlace:
    """Check whether the file in a registered model's place is its champion's, without changing anything."""
    tracker = Tracker(config.tracking_uri, create=False, write=False)
    return check_in_place(tracker, config.model or DEFAULT_MODEL, config.output)
