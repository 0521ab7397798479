"""The writes to a trial's run: entries that go to MLflow at once, or wait on disk and are delivered in order."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from architectures.errors import ProjectError
from experiments.config import EpochMetrics, ModelSize, RunResult, run_result
from experiments.tracking.records import ATTEMPT, ModelRecord, RunStart
from experiments.tracking.tracker import Tracker


class OwnershipLost(ProjectError):
    """Another sweep has taken over a trial: this process must not write to it."""


@dataclass(frozen=True)
class Ended:
    """A trial whose run has ended in MLflow."""

    number: int
    run_id: str
    status: str  # FINISHED, KILLED or FAILED
    outcome: str | None  # pruned, paused, infeasible or interrupted
    result: RunResult | None = None  # of a finished one
    model: ModelRecord | None = None  # if it was kept


@dataclass
class TrialRun:
    """The run of one trial in MLflow, as far as it is known."""

    number: int
    again: bool = False  # an earlier attempt or an unanswered request may have written some of it
    attempt: int = 1
    fenced: int = 0  # the last attempt whose run must not be resumed: its owner may still write
    unanswered: bool = False  # the last write
    run_id: str | None = None
    recorded: int = 0  # last epoch that MLflow holds

    def resumable_run(self, tracker: Tracker, parent: str) -> str | None:
        """Return the run of the latest attempt that is not fenced, if any; discard all others."""
        found = tracker.runs.of_trial(parent, self.number)
        usable = [one.run_id for one in found if one.attempt > self.fenced][:1]
        for one in found:
            if one.run_id not in usable:
                tracker.writer.discard_run(one.run_id)
        return usable[0] if usable else None

    @property
    def known(self) -> str:
        """The id of the run; raises ProjectError if no entry has named it."""
        if self.run_id is None:
            raise ProjectError(f"The writes kept for trial {self.number} have no start and cannot be delivered.")
        return self.run_id

    def look_again(self, tracker: Tracker) -> None:
        """Read what MLflow holds after an unanswered write."""
        if self.unanswered:
            self.recorded = tracker.runs.last_epoch(self.known)


class Entry(ABC):
    """One write."""

    ends = False  # the run

    @property
    def file(self) -> Path | None:
        """A model that is delivered with it."""
        return None

    @abstractmethod
    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> Ended | None:
        """Write to MLflow what is not there yet.

        Raises:
            OwnershipLost: if the run to be continued was given up.
            TrackingError: if MLflow refuses, or is unavailable.
        """


@dataclass(frozen=True)
class Start(Entry):
    """The run starts, or that of an earlier attempt continues."""

    start: RunStart

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> None:
        run.run_id = run.resumable_run(tracker, write.parent) if run.again else None
        start = replace(self.start, tags={**self.start.tags, ATTEMPT: str(run.attempt)})
        recorded = tracker.writer.resume_run(run.run_id, start) if run.run_id else None
        if run.run_id is None or recorded is None:
            run.run_id, recorded = tracker.writer.start_run(start), 0
        run.recorded = recorded


@dataclass(frozen=True)
class Known(Entry):
    """On disk: the run that the next entries belong to."""

    run_id: str

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> None:
        run.run_id = run.resumable_run(tracker, write.parent)
        if run.run_id is None:
            raise OwnershipLost(f"The writes kept for trial {run.number} continue a run that was given up.")
        run.recorded = tracker.runs.last_epoch(run.run_id)


@dataclass(frozen=True)
class Size(Entry):
    """A network was built."""

    size: ModelSize

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> None:
        run.look_again(tracker)
        tracker.writer.log_size(run.known, self.size, again=run.again)


@dataclass(frozen=True)
class Oversize(Entry):
    """A network was not converted, because its parameters alone make it too large."""

    parameters: int
    coreml_bytes_at_least: int

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> None:
        run.look_again(tracker)
        tracker.writer.log_oversize(run.known, self.parameters, self.coreml_bytes_at_least, again=run.again)


@dataclass(frozen=True)
class Epoch(Entry):
    """An epoch has ended; it is not written again if an earlier attempt has."""

    metrics: EpochMetrics

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> None:
        run.look_again(tracker)
        if self.metrics.epoch > run.recorded:
            tracker.writer.log_epoch(run.known, self.metrics, at=write.at)
            run.recorded = self.metrics.epoch


@dataclass(frozen=True)
class Finish(Entry):
    """The run ends as FINISHED, with its model if it is kept."""

    result: RunResult
    keep: bool
    ends = True

    @property
    def file(self) -> Path | None:
        return self.result.keras_file if self.keep else None

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> Ended:
        result = self.result
        model = tracker.writer.finish(run.known, result, keep=self.keep, again=run.again, at=write.at)
        result.keras_file.unlink(missing_ok=True)
        return Ended(run.number, run.known, "FINISHED", None, result, model)


@dataclass(frozen=True)
class Answer(Entry):
    """The run ends with the results of another run with the same configuration."""

    original: str  # run id
    ends = True

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> Ended:
        return Ended(run.number, run.known, tracker.writer.answer_run(run.known, self.original), None)


@dataclass(frozen=True)
class End(Entry):
    """The run was pruned, paused, infeasible or interrupted."""

    status: str
    outcome: str
    ends = True

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> Ended:
        tracker.writer.end(run.known, self.status, outcome=self.outcome)
        return Ended(run.number, run.known, self.status, self.outcome)


@dataclass(frozen=True)
class Fail(Entry):
    """The run ends as FAILED."""

    traceback: str
    ends = True

    def apply(self, run: TrialRun, write: Write, tracker: Tracker) -> Ended:
        tracker.writer.fail(run.known, self.traceback)
        return Ended(run.number, run.known, "FAILED", None)


ENTRY_TYPES: Mapping[str, type[Entry]] = {
    kind.__name__.lower(): kind for kind in (Start, Known, Size, Oversize, Epoch, Finish, Answer, End, Fail)
}
PARSED: Mapping[str, Callable[[Any], object]] = {
    "start": lambda values: RunStart(**values),
    "size": lambda values: ModelSize(**values),
    "metrics": lambda values: EpochMetrics(**values),
    "result": run_result,
}


@dataclass(frozen=True)
class Write:
    """An entry with its time and its sweep."""

    entry: Entry
    at: float  # seconds since 1970
    parent: str  # run id of the sweep's

    def as_json(self) -> str:
        """Return the write as a line of a journal."""
        values = {field.name: getattr(self.entry, field.name) for field in fields(self.entry)}  # type: ignore[arg-type]
        line = {"do": type(self.entry).__name__.lower(), "at": self.at, "parent": self.parent} | values
        return json.dumps(line, default=_as_json)


def parse_write(line: str) -> Write:
    """Parse a line of a journal; raises ValueError, TypeError, KeyError or AttributeError if it is invalid."""
    found = json.loads(line)
    kind = ENTRY_TYPES[found["do"]]
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if missing := [key for key in ("at", "parent", *names) if key not in found]:
        raise ValueError(f"a line lacks {', '.join(missing)}")
    if not isinstance(found["at"], int | float):
        raise TypeError("a line has no time")
    values = {name: PARSED[name](found[name]) if name in PARSED else found[name] for name in names}
    return Write(kind(**values), found["at"], found["parent"])


def _as_json(value: object) -> object:
    """Convert what `json` does not know: dataclasses, arrays, paths."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)
