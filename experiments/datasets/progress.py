"""Report progress while reading images: a bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from architectures import display

SECONDS = 5.0  # before the first line, and between lines


def told(
    name: str, images: int, blocks: Iterable[np.ndarray], *, doing: str = "Reading", done: str = "decoded"
) -> Iterator[np.ndarray]:
    """Yield blocks of images (n, ...) and report on stderr how many of all have been processed."""
    if sys.stderr.isatty():
        return _bar(f"{doing} {name}", images, blocks)
    return _lines(name, images, blocks, done)


def say(text: str) -> None:
    display.say(text, file=sys.stderr, flush=True)


def _lines(name: str, images: int, blocks: Iterable[np.ndarray], what: str) -> Iterator[np.ndarray]:
    done, last = 0, time.monotonic()
    for block in blocks:
        yield block
        done += len(block)
        if time.monotonic() - last > SECONDS:
            last = time.monotonic()
            say(f"{name}: {done:,} of {images:,} images {what}")


def _bar(text: str, images: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(display.visible(text), total=images)
        for block in blocks:
            yield block
            progress.advance(task, len(block))
