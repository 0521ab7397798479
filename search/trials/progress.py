"""Progress of trials on stderr: a line for each finished trial, and a live table of the running ones."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from math import inf

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from architectures.display import visible
from architectures.redaction import redact
from experiments.config import EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.objective import SHORT, score
from search.engines.messages import LARGEST_UNASKED
from search.trials.time_left import Pace, seconds_left, seconds_left_halving

BAR_WIDTH = 16  # columns


@dataclass
class _Trial:
    """A running trial."""

    config: RunConfig
    started: float  # earlier by the seconds that it had been trained before it was paused
    begun: float  # when it started or resumed here
    earlier: Pace | None = None  # until it was paused
    size: ModelSize | None = None
    first: EpochMetrics | None = None  # of the epochs trained here
    first_at: float = 0.0
    last: EpochMetrics | None = None
    last_at: float = 0.0
    best: float | None = None  # value of the objective

    def course(self, now: float) -> Pace:
        before = self.earlier or Pace(0.0, 0, self.config.epochs, 0.0)
        if not self.first or not self.last:
            started_again = before.trained_seconds + before.start_seconds  # once it has resumed
            return replace(before, seconds=before.seconds + now - self.begun, trained_seconds=started_again)
        epoch_seconds, start_seconds = before.epoch_seconds, before.start_seconds
        if further := self.last.epoch - self.first.epoch:
            epoch_seconds = (self.last_at - self.first_at) / further
            start_seconds = max(self.first_at - self.begun - epoch_seconds, 0.0)
        return Pace(
            now - self.started,
            self.last.epoch,
            self.config.epochs,
            self.last_at - self.started,
            epoch_seconds,
            start_seconds,
        )


def _better(config: RunConfig, value: float, best: float | None) -> float:
    """Return the better of two values of a trial's objective."""
    return value if best is None or score(config.objective, value) > score(config.objective, best) else best


class _Screen(Console):
    """stderr; ignores that its reader has left."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class TrialProgress:
    """Progress of a number of trials, as a context manager. Without a terminal, only lines are printed."""

    def __init__(self, trials: int, workers: int, *, pruner: str = "none") -> None:
        self._console = _Screen(stderr=True, highlight=False, emoji=False)
        self._trials, self._done, self._workers, self._pruner = trials, 0, workers, pruner
        self._waiting = Spinner("dots", "starting")
        self._courses: list[Pace] = []  # of the trials that ended here
        self._paused: dict[int, Pace] = {}  # those of them that are paused
        self._running: dict[int, _Trial] = {}
        self._best: float | None = None
        self._replicates = 0
        self._begun = 0  # trials of the study, including other sweeps', as far as their numbers tell
        self._deadline = inf
        self._live = Live(console=self._console, get_renderable=self._shown, transient=True, redirect_stdout=False)

    def __enter__(self) -> TrialProgress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the table, with secrets redacted."""
        self._console.print(visible(redact(text)), soft_wrap=True)

    def waiting(self, text: str) -> None:
        """Show what the sweep is waiting for while no trial is running."""
        self._waiting.update(text=visible(text))

    def chosen(self, workers: int, reason: str) -> None:
        """Set the number of trials that run at the same time, and print the reason if it is final."""
        self._workers = workers
        if reason:
            self.say(f"{workers} workers: {escape(reason)}")

    def expect(self, trials: int) -> None:
        """Set the number of trials, if it differs from the requested one."""
        self._trials = trials

    def expect_more(self, replicates: int) -> None:
        """Announce that the best configurations are trained again."""
        self._trials += replicates
        self._replicates += replicates
        self.say(f"training the best configurations with further seeds: {replicates} more trials")

    def done(self, trials: int, best: float | None) -> None:
        """Set the number of trials that the study already has, and the best value among them."""
        self._done, self._best = trials, best

    def started(self, number: int, config: RunConfig) -> None:
        course = self._paused.pop(number, None)
        if course:
            self._courses.remove(course)
        now = time.monotonic()
        self._running[number] = _Trial(config, now, now, course)
        self._begun = max(self._begun, number + 1)

    def built(self, number: int, size: ModelSize) -> None:
        self._running[number].size = size

    def no_start_after(self, seconds: float) -> None:
        """Set the time after which no more trials start."""
        self._deadline = time.monotonic() + seconds

    def resumed(self, number: int, epochs: int, seconds: float) -> None:
        """Announce that a trial resumes after epochs that took `seconds` in an earlier attempt."""
        self._running[number].started -= seconds
        self.say(f"trial {number}: resumes after epoch {epochs}")

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        trial = self._running[number]
        trial.last, trial.last_at = metrics, time.monotonic()
        if not trial.first:
            trial.first, trial.first_at = trial.last, trial.last_at
        trial.best = _better(trial.config, getattr(metrics, trial.config.objective), trial.best)

    def finished(self, number: int, result: RunResult, replicate: bool = False) -> None:
        """Print what a trial has reached. A replicate is never the best so far, because it only varies the seed."""
        if result.not_measured:
            self.say(f"warning: trial {number}: not measured: {escape(result.not_measured)}")
        config = self._running[number].config
        value = result.value(config.objective)
        better = not replicate and _better(config, value, self._best) != self._best
        if better:
            self._best = value
        self._ended(
            number,
            f"[bold]{config.objective} {value:.4f}[/] at epoch {result.best_epoch}, "
            f"{result.size.coreml_bytes:,} bytes{'  [green]best so far[/]' if better else ''}",
        )

    def pruned(self, number: int, metrics: EpochMetrics) -> None:
        self._stopped(number, metrics, "pruned")

    def paused(self, number: int, metrics: EpochMetrics) -> None:
        """Print that a trial was paused; it does not count as done."""
        self._paused[number] = self._stopped(number, metrics, "paused")
        self._done -= 1

    def _stopped(self, number: int, metrics: EpochMetrics, how: str) -> Pace:
        objective = self._running[number].config.objective
        value = getattr(metrics, objective)
        return self._ended(number, f"[dim]{how} at epoch {metrics.epoch}, {objective} {value:.4f}[/]")

    def pruned_paused(self, trials: int) -> None:
        """Print that the paused trials will not be resumed."""
        self._done += trials
        self._paused.clear()
        self.say(f"{trials} paused trial{'s' if trials > 1 else ''} pruned: others were better by the same epoch")

    def infeasible(self, number: int, coreml_bytes: int) -> None:
        self._ended(number, f"[dim]infeasible: {coreml_bytes:,} bytes, not trained[/]")

    def oversized(self, number: int, parameters: int, least: int | None) -> None:
        """Print that a network is too large: its file would have `least` bytes; None: it has too many parameters."""
        bytes_ = f" make {least:,} bytes or more" if least else ""
        allow = "" if least else f"; --max-coreml-bytes allows more than {LARGEST_UNASKED:,}"
        self._ended(number, f"[dim]infeasible: {parameters:,} parameters{bytes_}, not trained{allow}[/]")

    def answered(self, number: int, earlier: int) -> None:
        self._ended(number, f"[dim]same configuration as trial {earlier}: not trained again[/]")

    def failed(self, number: int, message: str) -> None:
        self._ended(number, f"[red]failed:[/] {escape(message)}")

    def lost(self, number: int, text: str) -> None:
        """Print that a trial has been given back to the study."""
        self._running.pop(number, None)  # one that waits for a duplicate is not in the table
        self.say(text)

    def _ended(self, number: int, text: str) -> Pace:
        trial = self._running.pop(number)
        seconds = time.monotonic() - trial.started
        course = trial.course(time.monotonic())
        self._courses.append(course)
        self._done += 1
        config = trial.config
        widths = "" if config.filters is None else f"filters {config.filters}"
        self.say(
            f"trial {number:>3}  {escape(config.architecture):<12} {widths:<11} "
            f"dropout {config.dropout:.2f} batch {config.batch_size:<4} {seconds:5.1f} s  {text}"
        )
        return course

    def _shown(self) -> RenderableType:
        """The live part: a row for each running trial, and the progress of the sweep."""
        best = f"best {self._best:.4f}" if self._best is not None else ""
        overall = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self._trials, completed=self._done, width=2 * BAR_WIDTH)
        overall.add_row(bar, f"{self._done}/{self._trials} trials", best, self._left())
        if not self._running:
            return Group(self._waiting, overall)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for title in (
            "trial",
            "architecture",
            "filters",
            "dropout",
            "batch",
            "epoch",
            "",
            SHORT[next(iter(self._running.values())).config.objective],
            "best",
            "bytes",
            "s",
        ):
            table.add_column(title, justify="left" if title in {"architecture", ""} else "right", no_wrap=True)
        for number, trial in sorted(self._running.items()):
            config, last = trial.config, trial.last
            epoch = last.epoch if last else 0
            table.add_row(
                str(number),
                Text(visible(config.architecture)),
                str(config.filters or ""),
                f"{config.dropout:.2f}",
                str(config.batch_size),
                f"{epoch}/{config.epochs}",
                ProgressBar(total=config.epochs, completed=epoch, width=BAR_WIDTH),
                f"{getattr(last, config.objective):.4f}" if last else "",
                f"{trial.best:.4f}" if trial.best is not None else "",
                f"{trial.size.coreml_bytes:,}" if trial.size else "",
                f"{time.monotonic() - trial.started:.0f}",
            )
        return Group(table, overall)

    def _left(self) -> str:
        running = [trial.course(time.monotonic()) for trial in self._running.values()]
        to_come = max(self._trials - max(self._done + len(running), self._begun), 0)
        starts_for = self._deadline - time.monotonic()
        if self._pruner == "halving" and not self._replicates:
            seconds = seconds_left_halving(
                self._courses, running, to_come=to_come, workers=self._workers, starts_for=starts_for
            )
        else:
            seconds = seconds_left(
                self._courses,
                running,
                to_come=to_come,
                workers=self._workers,
                prunes=self._pruner not in ("none", "halving"),
                before=self._done - len(self._courses),
                starts_for=starts_for,
            )
        if seconds is None or self._done >= self._trials:
            return ""
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
