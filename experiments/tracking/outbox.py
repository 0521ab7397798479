"""Write the runs of a sweep's trials to MLflow, or keep the writes on disk while it is away and deliver them in order.

A trial's writes that could not be delivered stand in a file (`experiments.tracking.journal`), with the model that is to
be kept beside it. They are delivered by the sweep when MLflow is back, by the next
sweep of the study, or by `python -m search.doctor`. What an unanswered request may have written already is looked up
before it is written again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from architectures.redaction import redact
from experiments.tracking.entries import Ended, Entry, Finish, Known, OwnershipLost, Start, TrialRun, Write
from experiments.tracking.guard import TrackingError, TrackingUnavailable
from experiments.tracking.journal import FOLDER, Journal, UnreadableJournal
from experiments.tracking.records import RunStart
from experiments.tracking.tracker import Tracker

LONGEST_REASON = 200  # characters of why a file cannot be read
PROBE_SECONDS = 2.0  # between two looks whether MLflow is back


@dataclass
class _Waiting(TrialRun):
    """The run of one trial, and its writes that wait."""

    waiting: list[Write] = field(default_factory=list)


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
            parent_run_id: under which the runs are found.
            owns: whether a trial, by its number, is this process': asked before each write.
            folder: where writes wait; the study's own folder is made in it when it is needed.
            say: told when MLflow goes away and when it is back.
        """
        # MLflow would ask a server again for minutes, and write twice what it only did not answer.
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        self._journal = Journal(folder, study)
        self._tracker, self._parent, self._owns, self._say = tracker, parent_run_id, owns, say
        self._runs: dict[int, _Waiting] = {}
        self._ended: list[Ended] = []
        self._lost: list[int] = []
        self._probed = float("-inf")
        self._away_since: float | None = None

    @property
    def folder(self) -> Path:
        """Where the study's writes wait."""
        return self._journal.folder

    @property
    def waiting(self) -> int:
        """Number of trials with writes that have not been delivered."""
        return sum(bool(run.waiting) for run in self._runs.values())

    @property
    def away_seconds(self) -> float:
        """For how long MLflow has been away; 0 if it is not."""
        return time.monotonic() - self._away_since if self._away_since else 0.0

    def run_id(self, number: int) -> str | None:
        """The run of a trial, if it is known."""
        return self._runs[number].run_id if number in self._runs else None

    def start(self, number: int, start: RunStart, *, attempt: int, fenced: int) -> None:
        """Start a trial's run, or take up the one of an earlier attempt that is not `fenced`.

        This and the methods below raise OwnershipLost if another sweep has taken over the trial.
        """
        self.forget(number)  # what an earlier attempt may have left on disk: this one writes all of it
        self._runs[number] = _Waiting(number, attempt > 1, attempt, fenced)
        self.write(number, Start(start))

    def write(self, number: int, entry: Entry) -> None:
        """Write to a trial's run, or keep it on disk while MLflow is away."""
        run = self._runs[number]
        write = Write(entry, time.time(), self._parent)
        if not run.waiting and not self._away_since:
            try:
                self._deliver(run, write)
                return
            except TrackingUnavailable as error:
                run.again = run.unanswered = True
                self._probed = self._away_since = time.monotonic()
                self._say(f"MLflow is unavailable; training continues: {error}")
        self._keep(run, write)

    def ended(self) -> list[Ended]:
        """Trials whose runs have ended in MLflow since the last call."""
        found, self._ended = self._ended, []
        return found

    def lost(self) -> list[int]:
        """Trials with writes on disk that turned out to belong to another sweep, since the last call."""
        found, self._lost = self._lost, []
        return found

    def deliver(self, *, at_once: bool = False) -> None:
        """Write what waits, if MLflow is back; checked at most every few seconds unless `at_once`."""
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
        """The numbers of trials whose writes a dead process has left on disk."""
        return sorted(self._journal.numbers() - self._runs.keys())

    def unreadable(self) -> dict[int, str]:
        """Those of them that no sweep of this version has written, or that are damaged, with the reason."""
        found = {}
        for number in self.left_over():
            try:
                self._journal.read(number)
            except UnreadableJournal as error:
                found[number] = str(error)
        return found

    def set_aside(self, number: int, reason: str) -> str:
        """Rename a file that cannot be read so that it is not read again; returns a message about it."""
        path = self._journal.path(number)
        aside = self._journal.set_aside(number)
        return f"{path} cannot be read ({redact(reason)[:LONGEST_REASON]}): set aside as {aside.name}"

    def take_up(self, number: int, *, attempt: int, fenced: int) -> None:
        """Deliver what a process that is gone has left of a trial; a run that it had not ended is KILLED then.

        Raises:
            TrackingUnavailable: if MLflow is away.
            OwnershipLost: if another sweep has taken over the trial.
        """
        run = _Waiting(number, True, attempt, fenced)
        run.waiting += self._journal.read(number)
        if run.waiting and run.waiting[0].parent == self._parent:  # else of a study that had the same name
            self._runs[number] = run
            ends = run.waiting[-1].entry.ends
            self._flush(run)
            if not ends and run.run_id:
                self._tracker.writer.end(run.run_id, "KILLED", outcome="interrupted")
        self._journal.remove(number)

    def forget(self, number: int) -> None:
        """Drop what waits of a trial: it is somebody else's now, or begun anew."""
        self._runs.pop(number, None)
        self._journal.remove(number)

    def abandon(self, number: int) -> None:
        """Drop everything of a trial that another sweep has taken over: waiting writes, and those in MLflow."""
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

    def _keep(self, run: _Waiting, write: Write) -> None:
        if isinstance(write.entry, Finish) and write.entry.keep:
            model = self._journal.model(run.number)
            model.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(write.entry.result.keras_file, model)
            moved = replace(write.entry.result, keras_file=model)
            write = replace(write, entry=replace(write.entry, result=moved))
        known = [replace(write, entry=Known(run.run_id))] if run.run_id and not run.waiting else []
        self._journal.append(run.number, *known, write)
        run.waiting.append(write)

    def _flush(self, run: _Waiting) -> None:
        """Deliver a run's writes in their order; raises TrackingUnavailable where MLflow is away again."""
        while run.waiting:
            try:
                self._deliver(run, run.waiting[0])
            except TrackingUnavailable:
                run.again = run.unanswered = True
                raise
            del run.waiting[0]
        self._journal.remove(run.number)

    def _deliver(self, run: _Waiting, write: Write) -> None:
        """Write to MLflow what is not there yet, if the trial is this process'."""
        if not self._owns(run.number):
            raise OwnershipLost(f"Trial {run.number} was taken over by another sweep.")
        try:
            ended = write.entry.apply(run, write, self._tracker)
        except TrackingUnavailable:
            raise
        except TrackingError as error:  # as MLflow refuses writes to a run that was given up
            if self._owns(run.number):
                raise
            raise OwnershipLost(str(error)) from error
        run.unanswered = False
        if ended:
            self._ended.append(ended)
