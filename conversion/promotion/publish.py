"""Write the outcome of a promotion: a refusal to the version, a promotion to disk and to the registry."""

from __future__ import annotations

from pathlib import Path

from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from conversion.coreml.writing import clear, staged, write
from conversion.promotion.in_place import taken as place_taken
from conversion.promotion.page import write_evidence
from conversion.promotion.place import default_output
from conversion.promotion.report import Examination, summary
from conversion.promotion.switch import FACTS, make_champion, settle, switching
from experiments.tracking import LONGEST_TAG, PLACE_TAG, Current, PromotionRecord, ServedFile, Tracker, VersionRecord

SCRIPT = Path(__file__).with_name("pyfunc_model.py")
SCRIPT_NEEDS = ("pocketnets", "mlflow", "coremltools", "numpy", "scipy", "pandas")
NO_REASON = "none"


def tags_of(examination: Examination) -> dict[str, str]:
    """Return the tags of a promoted version."""
    facts, decision, evidence = summary(examination), examination.decision, examination.evidence
    parity = f"differs: {'; '.join(evidence.faults)}"[:LONGEST_TAG]
    if evidence.verified:
        worst = max(evidence.parity, key=lambda part: part.max_difference)
        parity = f"verified: {worst.max_difference:.1e} <= {worst.allowance:.1e}"
    return {key: str(facts.get(key, "not measured")) for key in FACTS} | {
        "parity": parity,
        "promotion": decision.outcome,
        "promotion_reasons": ("; ".join(decision.reasons) or NO_REASON)[:LONGEST_TAG],
        "forced_reason": (decision.forced_reason or NO_REASON)[:LONGEST_TAG],
    }


def record_refusal(tracker: Tracker, examination: Examination, version: VersionRecord | None) -> str:
    """Write a refusal next to the kept model, and to the tags of its version if it has one.

    Returns:
        The folder among the model's artifacts that holds the report; those of earlier promotions stay as they are.
    """
    place = f"refused/{examination.created_at:%Y%m%dT%H%M%S.%fZ}"
    with scratch_folder() as folder:
        (folder / place).mkdir(parents=True)
        write_evidence(folder / place, examination, tracker.uri)
        tracker.models.attach(examination.candidate.model, folder)
    if version:
        when = examination.created_at.isoformat(timespec="seconds")
        reasons = "; ".join(examination.decision.reasons)[:LONGEST_TAG]
        tracker.registry.tag_version(version, {"refused_at": when, "refused_reasons": reasons})
    return place


class Overtaken(ProjectError):
    """Another process changed what a promotion was judged against. Nothing was changed."""


def publish(
    tracker: Tracker, examination: Examination, *, name: str, path: Path, judged: Current, taken: str | None
) -> tuple[VersionRecord, PromotionRecord]:
    """Make a file the champion: in the registry under `name`, and at `path`.

    Under the promotion lock, first check that what the file was judged against is still current. Then do everything
    that needs disk space: write the file next to its place, and add a promotion that nothing points to. Last, put the
    file in its place, and move the aliases, the champion's last. After an error, everything is undone; after a kill,
    the next command does that.

    Args:
        examination: the file, its evidence and the decision.
        judged: what was current when the file was judged.
        taken: why the place was taken then, which the user has overridden; None if it was free.

    Raises:
        Overtaken: if something else is current now, or is in the place.
        ProjectError: if the model was removed meanwhile.
        OSError: if the file cannot be written.
        TrackingError: if the store fails.
        LockLost: if the lock was lost, for example by a stopped process; its next holder undoes what was begun.
    """
    interface, model = examination.interface, examination.candidate.model
    image = interface.input
    tags = tags_of(examination)
    with scratch_folder() as folder, tracker.promotion_lock(f"promotes to {name}") as check:
        settle(tracker, name)
        clear(path)
        _check_current(tracker, name, judged)
        if place_taken(path, tracker, name=name, dataset=examination.candidate.dataset.name) != taken:
            raise Overtaken(f"{path} has changed since the file was judged: run it again")
        if tracker.models.is_removed(model):
            raise ProjectError(f"The model of run {model.run_id} has been removed since: nothing needed it.")
        usual = default_output(name, image=(image.height, image.width, image.channels), labels=interface.labels)
        shipped = folder / usual.with_suffix(path.suffix).name  # the name does not depend on that of the file on disk
        write(examination.file, shipped)
        write_evidence(folder, examination, tracker.uri)
        served = ServedFile(
            file=shipped,
            size_bytes=examination.file.size_bytes,
            script=SCRIPT,
            packages=SCRIPT_NEEDS,
            input_shape=(image.height, image.width, image.channels),
            columns=(interface.label_name, *interface.shown_labels),
        )
        with staged(examination.file, path) as put:
            version = tracker.registry.register(name, model)
            when = examination.created_at.isoformat(timespec="seconds")
            made = {**tags, "promoted_at": when, PLACE_TAG: str(path.absolute())}
            with switching(tracker, name, path):
                record = tracker.promotions.log_promotion(version, served, folder, made, judged.promotion)
                tracker.models.attach(version, folder)
                check()
                put()
                check()
                make_champion(tracker, record)
    return version, record


def _check_current(tracker: Tracker, name: str, judged: Current) -> None:
    """Raise Overtaken if the current promotion is not the one that the file was judged against."""
    now = tracker.promotions.current(name)
    if now == judged:
        return
    against = f"judged against promotion {judged.promotion}" if judged.promotion else "judged without a champion"
    if judged.version and not judged.promotion:
        against = f"judged while version {judged.version} was champion without a promotion"
    if now.promotion is None:
        came = "the champion has been removed" if now.version is None else f"version {now.version} has been set by hand"
    elif judged.promotion and now.promotion < judged.promotion:
        came = f"promotion {now.promotion} has been restored"
    else:
        came = f"promotion {now.promotion} has been published"
    raise Overtaken(f"{against}, but {came} since: run it again")
