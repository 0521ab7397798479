"""The runs of a sweep's trials: written to MLflow at once, or kept on disk while it is away and delivered in order.

A trial's writes that could not be delivered stand in a file (`experiments.tracking.kept`), with the model that is to
be kept beside it. They are delivered by the sweep when MLflow is back, by the next
sweep of the study, or by `python -m search.doctor`. What an unanswered request may have written already is looked up
before it is written again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from architectures.errors import ProjectError
from architectures.redaction import redact
from experiments.config import EpochMetrics, ModelSize, RunResult
from experiments.tracking.guard import TrackingError, TrackingUnavailable
from experiments.tracking.kept import FOLDER, Kept, Unreadable
from experiments.tracking.records import ATTEMPT, ModelRecord, RunStart
from experiments.tracking.tracker import Tracker

LONGEST_REASON = 200  # characters of why a file cannot be read
PROBE_SECONDS = 2.0  # between two looks whether MLflow is back
LAST = ("finish", "answer", "end", "fail")  # writes that end a run


class OwnershipLost(ProjectError):
    """A trial is another sweep's by now: nothing more is to be written of it here."""


@dataclass(frozen=True)
class Ended:
    """A trial whose run has ended in MLflow."""

    number: int
    run_id: str
    status: str  # FINISHED, KILLED or FAILED
    outcome: str | None  # pruned, infeasible or interrupted
    result: RunResult | None = None  # of a finished one
    model: ModelRecord | None = None  # where it was kept


@dataclass
class _Run:
    """The run of one trial, and what could not be written of it yet."""

    number: int
    again: bool = False  # an earlier attempt or an unanswered request may have written some of it
    attempt: int = 1
    fenced: int = 0  # the last attempt whose run is not to be gone on with: its owner may still write
    unanswered: bool = False  # the last write
    run_id: str | None = None
    recorded: int = 0  # last epoch that MLflow holds
    waiting: list[dict[str, Any]] = field(default_factory=list)


class Outbox:
    """Writes the runs of one study's trials."""

    def __init__(
        self,
        tracker: Tracker,
        study: str,
        parent_run_id: str,
        *,
        owns: Callable[[int], bool],
        folder: Path = FOLDER,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare to write the runs of a study's trials.

        Args:
            tracker: the store.
            study: its name.
            parent_run_id: under which the runs are found.
            owns: whether a trial, by its number, is this process': asked before each write.
            folder: where writes wait; the study's own folder is made in it when it is needed.
            say: told when MLflow goes away and when it is back.
        """
        # MLflow would ask a server again for minutes, and write twice what it only did not answer.
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        self._kept = Kept(folder, study)
        self._tracker, self._parent, self._owns, self._say = tracker, parent_run_id, owns, say
        self._runs: dict[int, _Run] = {}
        self._ended: list[Ended] = []
        self._lost: list[int] = []
        self._probed = float("-inf")
        self._away_since: float | None = None

    @property
    def folder(self) -> Path:
        """Where the study's writes wait."""
        return self._kept.folder

    @property
    def waiting(self) -> int:
        """Number of trials with writes that have not been delivered."""
        return sum(bool(run.waiting) for run in self._runs.values())

    @property
    def away_seconds(self) -> float:
        """For how long MLflow has been away, 0 where it is not."""
        return time.monotonic() - self._away_since if self._away_since else 0.0

    def run_id(self, number: int) -> str | None:
        """The run of a trial, where it is known."""
        return self._runs[number].run_id if number in self._runs else None

    def start(self, number: int, start: RunStart, *, attempt: int, fenced: int) -> None:
        """Start a trial's run, or take up the one of an earlier attempt that is not `fenced`.

        This and what follows raise OwnershipLost where the trial is another sweep's by now.
        """
        self.forget(number)  # what an earlier attempt may have left on disk: this one writes all of it
        self._runs[number] = _Run(number, attempt > 1, attempt, fenced)
        self._write(number, "start", start=start)

    def size(self, number: int, size: ModelSize) -> None:
        """Write what is known once a network is built."""
        self._write(number, "size", size=size)

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        """Write an epoch's metrics, unless an earlier attempt has."""
        self._write(number, "epoch", metrics=metrics)

    def finish(self, number: int, result: RunResult, *, keep: bool) -> None:
        """End a run as FINISHED, with its model if that is to be kept."""
        self._write(number, "finish", result=result, keep=keep)

    def answer(self, number: int, original: str) -> None:
        """End a run with the results of another one of the same configuration."""
        self._write(number, "answer", original=original)

    def end(self, number: int, status: str, *, outcome: str) -> None:
        """End a run that was pruned, infeasible or interrupted."""
        self._write(number, "end", status=status, outcome=outcome)

    def fail(self, number: int, traceback: str) -> None:
        """End a run as FAILED."""
        self._write(number, "fail", traceback=redact(traceback))

    def ended(self) -> list[Ended]:
        """Trials whose runs have ended in MLflow since the last call."""
        found, self._ended = self._ended, []
        return found

    def lost(self) -> list[int]:
        """Trials with writes on disk that turned out to be another sweep's, since the last call."""
        found, self._lost = self._lost, []
        return found

    def deliver(self, *, at_once: bool = False) -> None:
        """Write what waits, if MLflow is back; looked at every few seconds at most unless `at_once`."""
        if not self.waiting or not (at_once or time.monotonic() - self._probed >= PROBE_SECONDS):
            return
        try:
            self._tracker.check_reachable()
            for run in [run for run in self._runs.values() if run.waiting]:
                try:
                    self._flush(run)
                except OwnershipLost:
                    self._lost.append(run.number)
        except TrackingUnavailable:
            pass
        else:
            self._say(f"MLflow is back after {self.away_seconds:.0f} s; what was kept on disk is written")
            self._away_since = None
        self._probed = time.monotonic()

    def left_over(self) -> list[int]:
        """Numbers of the trials of which a process that is gone has left writes on disk."""
        return sorted(self._kept.numbers() - self._runs.keys())

    def unreadable(self) -> dict[int, str]:
        """Those of them that no sweep of this version can have written, or that are damaged, and why."""
        found = {}
        for number in self.left_over():
            try:
                self._kept.read(number)
            except Unreadable as error:
                found[number] = str(error)
        return found

    def set_aside(self, number: int, reason: str) -> str:
        """Give a file that cannot be read a name under which nobody looks for it; returns what to say of that."""
        path = self._kept.path(number)
        aside = self._kept.set_aside(number)
        return f"{path} cannot be read ({redact(reason)[:LONGEST_REASON]}): set aside as {aside.name}"

    def take_up(self, number: int, *, attempt: int, fenced: int) -> None:
        """Deliver what a process that is gone has left of a trial; a run that it had not ended is KILLED then.

        Raises:
            TrackingUnavailable: if MLflow is away.
            OwnershipLost: where the trial is another sweep's by now.
        """
        run = _Run(number, True, attempt, fenced)
        run.waiting += self._kept.read(number)
        if run.waiting and run.waiting[0].get("parent") == self._parent:  # else of a study that had the same name
            self._runs[number] = run
            ends = run.waiting[-1]["do"] in LAST
            self._flush(run)
            if not ends and run.run_id:
                self._tracker.writer.end(run.run_id, "KILLED", outcome="interrupted")
        self._kept.remove(number)

    def forget(self, number: int) -> None:
        """Drop what waits of a trial: it is somebody else's now, or begun anew."""
        self._runs.pop(number, None)
        self._kept.remove(number)

    def abandon(self, number: int) -> None:
        """Drop all of a trial that is another sweep's by now: what waits, and what this attempt has put into MLflow."""
        run = self._runs.get(number)
        self.forget(number)
        if run and run.run_id:
            with suppress(TrackingError):  # what cannot be removed is found by search.doctor
                if self._tracker.runs.get(run.run_id).attempt == run.attempt:
                    self._tracker.writer.discard_run(run.run_id)

    def forget_waiting(self, number: int) -> None:
        """Drop what waits of a trial, if anything does."""
        if number in self._runs and self._runs[number].waiting:
            self.forget(number)

    def _write(self, number: int, do: str, **values: object) -> None:
        run = self._runs[number]
        write = {"do": do, "at": time.time(), "parent": self._parent} | values
        if not run.waiting and not self._away_since:
            try:
                self._deliver(run, write)
                return
            except TrackingUnavailable as error:
                run.again = run.unanswered = True
                self._probed = self._away_since = time.monotonic()
                self._say(f"MLflow is away, training goes on: {error}")
        self._keep(run, write)

    def _keep(self, run: _Run, write: dict[str, Any]) -> None:
        if write["do"] == "finish" and write["keep"]:
            model = self._kept.model(run.number)
            model.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(write["result"].keras_file, model)
            write["result"] = replace(write["result"], keras_file=model)
        known = {"do": "known", "at": write["at"], "parent": self._parent, "run_id": run.run_id}
        self._kept.append(run.number, *([known] if run.run_id and not run.waiting else []), write)
        run.waiting.append(write)

    def _flush(self, run: _Run) -> None:
        """Deliver a run's writes in their order; raises TrackingUnavailable where MLflow is away again."""
        while run.waiting:
            try:
                self._deliver(run, run.waiting[0])
            except TrackingUnavailable:
                run.again = run.unanswered = True
                raise
            del run.waiting[0]
        self._kept.remove(run.number)

    def _deliver(self, run: _Run, write: Mapping[str, Any]) -> None:
        """Write to MLflow what is not there yet, if the trial is this process'."""
        if not self._owns(run.number):
            raise OwnershipLost(f"Trial {run.number} is another sweep's by now.")
        try:
            self._write_to_mlflow(run, write)
        except TrackingUnavailable:
            raise
        except TrackingError as error:  # as MLflow refuses writes to a run that was given up
            if self._owns(run.number):
                raise
            raise OwnershipLost(str(error)) from error

    def _write_to_mlflow(self, run: _Run, write: Mapping[str, Any]) -> None:
        tracker, at = self._tracker, write["at"]
        if write["do"] == "start":
            self._start(run, write["start"])
            return
        if write["do"] == "known":
            run.run_id = self._run_to_go_on_with(run)
            if run.run_id is None:
                raise OwnershipLost(f"The run that {self._kept.path(run.number)} goes on is given up.")
        if (run_id := run.run_id) is None:
            raise ProjectError(f"What is kept in {self._kept.path(run.number)} has no start: it cannot be delivered.")
        if run.unanswered or write["do"] == "known":
            run.recorded = tracker.runs.last_epoch(run_id)
        ended = None
        match write["do"]:
            case "size":
                tracker.writer.log_size(run_id, write["size"], again=run.again)
            case "epoch":
                metrics: EpochMetrics = write["metrics"]
                if metrics.epoch > run.recorded:
                    tracker.writer.log_epoch(run_id, metrics, at=at)
                    run.recorded = metrics.epoch
            case "finish":
                result: RunResult = write["result"]
                model = tracker.writer.finish(run_id, result, keep=write["keep"], again=run.again, at=at)
                result.keras_file.unlink(missing_ok=True)
                ended = Ended(run.number, run_id, "FINISHED", None, result, model)
            case "answer":
                ended = Ended(run.number, run_id, tracker.writer.answer_run(run_id, write["original"]), None)
            case "end":
                tracker.writer.end(run_id, write["status"], outcome=write["outcome"])
                ended = Ended(run.number, run_id, write["status"], write["outcome"])
            case "fail":
                tracker.writer.fail(run_id, write["traceback"])
                ended = Ended(run.number, run_id, "FAILED", None)
        run.unanswered = False
        if ended:
            self._ended.append(ended)

    def _start(self, run: _Run, start: RunStart) -> None:
        tracker = self._tracker
        run.run_id = self._run_to_go_on_with(run) if run.again else None
        start = replace(start, tags={**start.tags, ATTEMPT: str(run.attempt)})
        recorded = tracker.writer.resume_run(run.run_id, start) if run.run_id else None
        if run.run_id is None or recorded is None:
            run.run_id, recorded = tracker.writer.start_run(start), 0
        run.recorded, run.unanswered = recorded, False

    def _run_to_go_on_with(self, run: _Run) -> str | None:
        """The run of the latest attempt that is not fenced, if there is one; all others are discarded."""
        found = self._tracker.runs.of_trial(self._parent, run.number)
        usable = [one.run_id for one in found if one.attempt > run.fenced][:1]
        for one in found:
            if one.run_id not in usable:
                self._tracker.writer.discard_run(one.run_id)
        return usable[0] if usable else None
