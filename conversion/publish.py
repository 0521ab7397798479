"""Writes a promotion's decision down: a refusal on the version, a promotion on disk and in the registry."""

from __future__ import annotations

from pathlib import Path

from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from conversion.files import staged, write
from conversion.output import default_output
from conversion.report import Examination, summary, write_evidence
from experiments.tracking import PLACE_TAG, PromotionRecord, ServedFile, Tracker, TrackingError, VersionRecord

SCRIPT = Path(__file__).with_name("pyfunc_model.py")
SCRIPT_NEEDS = ("pocketnets", "mlflow", "coremltools", "numpy", "scipy", "pandas")
FACTS = ("coreml_sha256", "coreml_bytes", "coreml_format", "compression", "test_accuracy")  # of the evidence
TAGS = (*FACTS, "parity", "promotion", "promotion_reasons", "forced_reason")  # of a promoted version
LONGEST_TAG = 5000  # characters: what every MLflow store takes
NONE = "none"


def tags_of(examination: Examination) -> dict[str, str]:
    """What a promoted version says about its promotion."""
    facts, decision, evidence = summary(examination), examination.decision, examination.evidence
    parity = f"differs: {'; '.join(evidence.faults)}"[:LONGEST_TAG]
    if evidence.verified:
        worst = max(evidence.parity, key=lambda part: part.max_difference)
        parity = f"verified: {worst.max_difference:.1e} <= {worst.allowance:.1e}"
    return {key: str(facts.get(key, "not measured")) for key in FACTS} | {
        "parity": parity,
        "promotion": decision.outcome,
        "promotion_reasons": ("; ".join(decision.reasons) or NONE)[:LONGEST_TAG],
        "forced_reason": (decision.forced_reason or NONE)[:LONGEST_TAG],
    }


def record_refusal(tracker: Tracker, examination: Examination, version: VersionRecord | None) -> str:
    """Write a refusal beside the kept model, and as tags on its version if it has one.

    Returns:
        The folder among the model's artifacts that holds the report; those of earlier promotions stay as they are.
    """
    place = f"refused/{examination.created_at:%Y%m%dT%H%M%S.%fZ}"
    with scratch_folder() as folder:
        (folder / place).mkdir(parents=True)
        write_evidence(folder / place, examination)
        tracker.attach(examination.candidate.model, folder)
    if version:
        when = examination.created_at.isoformat(timespec="seconds")
        reasons = "; ".join(examination.decision.reasons)[:LONGEST_TAG]
        tracker.tag_version(version, {"refused_at": when, "refused_reasons": reasons})
    return place


def publish(
    tracker: Tracker, examination: Examination, *, name: str, path: Path
) -> tuple[VersionRecord, PromotionRecord]:
    """Make a file the champion: in the registry under `name`, and at `path`.

    Whatever can fail for want of space comes first; then the history gains a promotion that nothing points to, the
    file takes its place, and the aliases move, the champion's last. A process killed in between leaves a champion
    whose file and history are whole, and the next promotion ends what this one began.

    Raises:
        OSError: if the file cannot be written.
        TrackingError: if the store fails.
    """
    interface = examination.interface
    image = interface.input
    tags = tags_of(examination)
    with scratch_folder() as folder:
        usual = default_output(name, image=(image.height, image.width, image.channels), labels=interface.labels)
        shipped = folder / usual.with_suffix(path.suffix).name  # whatever a person calls the one on disk
        write(examination.file, shipped)
        write_evidence(folder, examination)
        served = ServedFile(
            file=shipped,
            size_bytes=examination.file.size_bytes,
            script=SCRIPT,
            packages=SCRIPT_NEEDS,
            input_shape=(image.height, image.width, image.channels),
            columns=(interface.label_name, *interface.shown_labels),
        )
        with staged(examination.file, path) as put:
            previous = _current(tracker, name)
            version = tracker.register(name, examination.candidate.model)
            when = examination.created_at.isoformat(timespec="seconds")
            made = {**tags, "promoted_at": when, PLACE_TAG: str(path.absolute())}
            record = tracker.log_promotion(version, served, folder, made, previous)
            if _current(tracker, name) != previous:
                raise ProjectError(f"Another promotion of {name} came first: run this one again, against its file.")
            tracker.attach(version, folder)
            put()
            tracker.crown(record, version, tags)
    return version, record


def _current(tracker: Tracker, name: str) -> int | None:
    """Number of the promotion that is replaced, if there is one."""
    try:
        champion = tracker.champion(name)
        return tracker.current_promotion(champion).number if champion else None
    except TrackingError:
        raise
    except ProjectError:  # the alias was set by hand, which the gate has refused and a person overridden
        return None
