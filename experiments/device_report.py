"""Reports of the app's measurements on a phone: find the measured promotion, and write to its run.

The app encodes them (`ios/DigitKit/Sources/DigitKit/DeviceReport.swift`). A report has the metadata of the model's
file, which name the run; the promotion of that run is the one whose evidence has the same metadata.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from architectures.errors import UsageError
from architectures.scratch import scratch_folder
from experiments.tracking import PromotionRecord, Tracker

VERSION = 1  # of the report's keys
LONGEST = 10**6  # bytes of a report; one has 2,000
Processors = Literal["cpu", "cpu_and_neural_engine", "all"]
PROCESSORS: tuple[Processors, ...] = get_args(Processors)
METRIC_NAMES = {"load_ms": "load_ms", "first_ms": "first_ms", "median_ms": "latency_ms"}  # of a report, and in MLflow
DEVICE_TAG = "device"
FOLDER = "device"  # of a run's artifacts
MODEL_TYPES = ("neuralnetwork", "mlprogram")


@dataclass(frozen=True)
class DeviceReport:
    """The times that one device took for one file."""

    device: str  # the manufacturer's identifier, "iPhone16,1"
    system: str  # "iOS 18.1"
    measured_at: str  # UTC, ISO 8601
    format: str | None  # of the file; None if unknown to the app
    metadata: Mapping[str, str]  # of the file
    figures: Mapping[str, float]  # by metric, `device_all_latency_ms`; ms
    text: str  # unchanged

    @property
    def run_id(self) -> str:
        return self.metadata["run_id"]

    @property
    def title(self) -> str:
        return f"{self.device}, {self.system}"


@dataclass(frozen=True)
class DeviceMeasurement:
    """A report that was written to its run."""

    report: DeviceReport
    run: str
    promotion: PromotionRecord

    def as_json(self) -> dict[str, object]:
        return {
            "run_id": self.report.run_id,
            "run": self.run,
            "device": self.report.device,
            "system": self.report.system,
            "measured_at": self.report.measured_at,
            "promotion_model": self.promotion.name,
            "promotion": self.promotion.number,
            "coreml_sha256": self.promotion.sha256,
            "figures": dict(self.report.figures),
        }


def read_report(path: Path) -> DeviceReport:
    """Read a report that the app shared.

    Raises:
        UsageError: if it is not a report, is from another version of the app, or was measured in a simulator.
    """
    try:
        content = path.read_bytes()
        if len(content) > LONGEST:
            raise UsageError(f"{path} has {len(content):,} bytes: no report of the app has more than {LONGEST:,}.")
        stored = json.loads(content)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}.") from None
    if not isinstance(stored, dict) or "timings" not in stored:
        raise UsageError(
            f"{path} is not a report of the app: share one from its model screen, under Speed on this device."
        )
    if stored.get("version") != VERSION:
        raise UsageError(f"{path} has version {stored.get('version')!r} of the report, this program reads {VERSION}.")
    if stored.get("is_simulator") is not False:
        raise UsageError(f"{path} was measured in a simulator, which computes on the Mac: measure on a device.")
    try:
        return DeviceReport(
            device=_line(stored["device"]),
            system=_line(stored["system"]),
            measured_at=_time(stored["measured_at"]),
            format=None if stored.get("format") is None else _one_of(stored["format"], MODEL_TYPES),
            metadata=_texts(stored["metadata"]),
            figures=_figures(stored["timings"]),
            text=content.decode(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not what the app shares: {error!r}.") from None


def record(tracker: Tracker, report: DeviceReport) -> DeviceMeasurement:
    """Write a report and its figures to the run of the measured file.

    Raises:
        UsageError: for a run or a file that is not in the store.
    """
    run = tracker.runs.get(report.run_id)
    promotion = _promotion_of(tracker, report)
    tracker.repair.log_figures(run.run_id, report.figures)
    tags = {
        DEVICE_TAG: report.title,
        "device_measured_at": report.measured_at,
        "device_coreml_sha256": promotion.sha256,
    }
    tracker.repair.tag_run(run.run_id, tags)
    with scratch_folder() as folder:
        name = re.sub(r"[^\w.-]", "-", f"{report.device}-{report.system}-{report.measured_at}")
        (folder / f"{name}.json").write_text(report.text, encoding="utf-8")
        tracker.writer.log_files(run.run_id, folder, FOLDER)
    return DeviceMeasurement(report, run.name, promotion)


def record_file(tracking_uri: str, path: Path) -> DeviceMeasurement:
    """As `record`, for the report in a file and the store at a URI."""
    report = read_report(path)
    return record(Tracker(tracking_uri, create=False), report)


def _promotion_of(tracker: Tracker, report: DeviceReport) -> PromotionRecord:
    """Return the newest promotion of the measured file."""
    made = [
        promotion
        for name in tracker.registry.registered_as(report.run_id)
        for promotion in tracker.promotions.all(name)
        if not promotion.abandoned and tracker.registry.version(name, promotion.source).run_id == report.run_id
    ]
    found = [promotion for promotion in made if _is_of(tracker, promotion, report)]
    if found:
        return max(found, key=lambda promotion: (promotion.tags.get("promoted_at", ""), promotion.number))
    if not made:
        raise UsageError(
            f"Run {report.run_id} was never promoted here: the file that was measured is not of this store."
        )
    told = ", ".join(
        f"{key} {value}" for key, value in sorted(report.metadata.items()) if key in ("compression", "threshold")
    )
    raise UsageError(
        f"No promotion of run {report.run_id} is the file that was measured ({told or 'no metadata'}, "
        f"{report.format or 'of an unknown format'})."
    )


def _is_of(tracker: Tracker, promotion: PromotionRecord, report: DeviceReport) -> bool:
    """Return whether the metadata of a promotion's file match those of the measured one."""
    if report.format and promotion.tags.get("coreml_format") != report.format:
        return False
    if report.metadata.get("compression") != promotion.tags.get("compression"):
        return False
    with scratch_folder() as folder:
        tracker.promotions.download_evidence(promotion, folder)
        stored = json.loads((folder / "promotion.json").read_text(encoding="utf-8")).get("metadata", {})
    return all(report.metadata.get(key, value) == value for key, value in stored.items())


def _line(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > 100:
        raise ValueError(f"{value!r} is not a name")
    return value


def _time(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value):
        raise ValueError(f"measured_at is {value!r}, not a time as 2026-11-29T12:00:00Z")
    return value


def _one_of(value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return str(value)


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("metadata must be texts by name")
    if not value.get("run_id"):
        raise ValueError("the metadata name no run_id: the file was not promoted by this project")
    return value


def _figures(timings: Any) -> dict[str, float]:
    found = {}
    for timing in timings:
        processors = _one_of(timing["processors"], PROCESSORS)
        for key, name in METRIC_NAMES.items():
            value = timing[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ValueError(f"{key} is {value!r}, not milliseconds")
            found[f"device_{processors}_{name}"] = float(value)
    if not found:
        raise ValueError("it holds no timing")
    return found
