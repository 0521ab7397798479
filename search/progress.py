"""What a person sees on stderr while trials run: a line per finished trial, and a live line with the time left."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from experiments.config import EpochMetrics, RunConfig, RunResult


class TrialProgress:
    """Progress of a number of trials. Use as a context manager. Without a terminal only the lines are written."""

    def __init__(self, trials: int, workers: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=trials, left="")
        self._trials, self._done, self._workers = trials, 0, workers
        self._seconds: list[float] = []  # of the trials finished here
        self._running: dict[int, tuple[RunConfig, float]] = {}  # by number: what, and when it started
        self._best: float | None = None

    def __enter__(self) -> TrialProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._console.print(text, soft_wrap=True)

    def waiting(self, text: str) -> None:
        """Say what is being waited for."""
        self._bar.update(self._task, description=text)

    def done(self, trials: int, best: float | None) -> None:
        """Say how many trials the study holds already, and the highest val_accuracy among them."""
        self._done, self._best = trials, best
        self._bar.update(self._task, completed=trials)

    def started(self, number: int, config: RunConfig) -> None:
        self._running[number] = (config, time.monotonic())
        self._bar.update(self._task, description=f"trial {number} {escape(config.architecture)}")

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        config, _ = self._running[number]
        best = f" · best {self._best:.3f}" if self._best is not None else ""
        self._bar.update(
            self._task,
            description=f"trial {number} {escape(config.architecture)} epoch {metrics.epoch}/{config.epochs} "
            f"val_accuracy {metrics.val_accuracy:.3f}{best}",
            left=self._left(),
        )

    def finished(self, number: int, result: RunResult) -> None:
        better = self._best is None or result.best_val_accuracy > self._best
        if better:
            self._best = result.best_val_accuracy
        self._ended(
            number,
            f"[bold]val_accuracy {result.best_val_accuracy:.4f}[/] at epoch {result.best_epoch}, "
            f"{result.size.coreml_bytes:,} bytes{'  [green]best so far[/]' if better else ''}",
        )

    def pruned(self, number: int, metrics: EpochMetrics) -> None:
        self._ended(number, f"[dim]pruned at epoch {metrics.epoch}, val_accuracy {metrics.val_accuracy:.4f}[/]")

    def failed(self, number: int, message: str) -> None:
        self._ended(number, f"[red]failed:[/] {escape(message)}")

    def _ended(self, number: int, text: str) -> None:
        config, start = self._running.pop(number)
        seconds = time.monotonic() - start
        self._seconds.append(seconds)
        self._done += 1
        self.say(
            f"trial {number:>3}  {escape(config.architecture):<10} filters {config.filters:<3} "
            f"dropout {config.dropout:.2f} batch {config.batch_size:<4} {seconds:5.1f} s  {text}"
        )
        self._bar.update(self._task, completed=self._done, left=self._left())

    def _left(self) -> str:
        if not self._seconds:
            return ""
        seconds = sum(self._seconds) / len(self._seconds) * (self._trials - self._done) / self._workers
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
