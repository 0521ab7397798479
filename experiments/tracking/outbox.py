"""Write the runs of a sweep's trials to MLflow; while it is unavailable, keep the writes on disk to deliver in order.

Undelivered writes of a trial are in a file (`experiments.tracking.journal`), with the model to keep next to it. They
are delivered by the sweep when MLflow is back, by the next sweep of the study, or by `python -m search.doctor`. After
an unanswered request, MLflow is read first, so that nothing is written twice.
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
from experiments.tracking.journal import OUTBOX_FOLDER, Journal, UnreadableJournal
from experiments.tracking.records import RunStart
from experiments.tracking.tracker import Tracker

LONGEST_REASON = 200  # characters of the reason why a file cannot be read
PROBE_SECONDS = 2.0  # between checks whether MLflow is back


@dataclass
class _Waiting(TrialRun):
    """The run of one trial, and its waiting writes."""

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
        folder: Path = OUTBOX_FOLDER,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare to write the runs of a study's trials.

        Args:
            parent_run_id: of the sweep's run.
            owns: returns whether this process owns a trial, by number; called before each write.
            folder: for waiting writes; the study's own folder is created in it when it is needed.
            say: called with a message when MLflow becomes unavailable and when it is back.
        """
        # MLflow would retry for minutes, and repeat writes that the server has made but not answered.
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
        """The folder of the study's waiting writes."""
        return self._journal.folder

    @property
    def waiting(self) -> int:
        """The number of trials with undelivered writes."""
        return sum(bool(run.waiting) for run in self._runs.values())

    @property
    def away_seconds(self) -> float:
        """How long MLflow has been unavailable; 0 if it is available."""
        return time.monotonic() - self._away_since if self._away_since else 0.0

    def run_id(self, number: int) -> str | None:
        """Return the run of a trial, if it is known."""
        return self._runs[number].run_id if number in self._runs else None

    def start(self, number: int, start: RunStart, *, attempt: int, fenced: int) -> None:
        """Start a trial's run, or continue that of an earlier attempt if it is not `fenced`.

        This and the methods below raise OwnershipLost if another sweep has taken over the trial.
        """
        self.forget(number)  # this attempt writes everything that an earlier one may have left on disk
        self._runs[number] = _Waiting(number, attempt > 1, attempt, fenced)
        self.write(number, Start(start))

    def write(self, number: int, entry: Entry) -> None:
        """Write to a trial's run, or keep the entry on disk while MLflow is unavailable."""
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
        """Return the trials whose runs have ended in MLflow since the last call."""
        found, self._ended = self._ended, []
        return found

    def lost(self) -> list[int]:
        """Return the trials with writes on disk that turned out to belong to another sweep, since the last call."""
        found, self._lost = self._lost, []
        return found

    def deliver(self, *, at_once: bool = False) -> None:
        """Deliver waiting writes if MLflow is back; check at most every few seconds unless `at_once`."""
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
        """Return the numbers of trials whose writes a dead process has left on disk."""
        return sorted(self._journal.numbers() - self._runs.keys())

    def unreadable(self) -> dict[int, str]:
        """Return the left-over trials whose file is damaged or not of this version, with the reason."""
        found = {}
        for number in self.left_over():
            try:
                self._journal.read(number)
            except UnreadableJournal as error:
                found[number] = str(error)
        return found

    def set_aside(self, number: int, reason: str) -> str:
        """Rename an unreadable file so that it is not read again; return a message about it."""
        path = self._journal.path(number)
        aside = self._journal.set_aside(number)
        return f"{path} cannot be read ({redact(reason)[:LONGEST_REASON]}): set aside as {aside.name}"

    def take_up(self, number: int, *, attempt: int, fenced: int) -> None:
        """Deliver the writes of a trial that a dead process has left; end the run as KILLED if they do not end it.

        Raises:
            TrackingUnavailable: if MLflow is unavailable.
            OwnershipLost: if another sweep has taken over the trial.
        """
        run = _Waiting(number, True, attempt, fenced)
        run.waiting += self._journal.read(number)
        if run.waiting and run.waiting[0].parent == self._parent:  # else of an earlier study with the same name
            self._runs[number] = run
            ends = run.waiting[-1].entry.ends
            self._flush(run)
            if not ends and run.run_id:
                self._tracker.writer.end(run.run_id, "KILLED", outcome="interrupted")
        self._journal.remove(number)

    def forget(self, number: int) -> None:
        """Drop the waiting writes of a trial that has another owner now, or starts over."""
        self._runs.pop(number, None)
        self._journal.remove(number)

    def abandon(self, number: int) -> None:
        """Drop everything of a trial that another sweep has taken over: waiting writes, and those in MLflow."""
        run = self._runs.get(number)
        self.forget(number)
        if run and run.run_id:
            with suppress(TrackingError):  # search.doctor finds what could not be removed
                if self._tracker.runs.get(run.run_id).attempt == run.attempt:
                    self._tracker.writer.discard_run(run.run_id)

    def forget_waiting(self, number: int) -> None:
        """Drop the waiting writes of a trial, if there are any."""
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
        """Deliver a run's writes in order; raise TrackingUnavailable if MLflow is unavailable again."""
        while run.waiting:
            try:
                self._deliver(run, run.waiting[0])
            except TrackingUnavailable:
                run.again = run.unanswered = True
                raise
            del run.waiting[0]
        self._journal.remove(run.number)

    def _deliver(self, run: _Waiting, write: Write) -> None:
        """Write to MLflow what is not there yet, if this process owns the trial."""
        if not self._owns(run.number):
            raise OwnershipLost(f"Trial {run.number} was taken over by another sweep.")
        try:
            ended = write.entry.apply(run, write, self._tracker)
        except TrackingUnavailable:
            raise
        except TrackingError as error:  # MLflow refuses writes to a run that was given up
            if self._owns(run.number):
                raise
            raise OwnershipLost(str(error)) from error
        run.unanswered = False
        if ended:
            self._ended.append(ended)
