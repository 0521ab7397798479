"""Reading many images, told: a bar where a person watches, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from architectures import display

if TYPE_CHECKING:
    import numpy as np

SECONDS = 5.0  # before the first line, and between two; a bar appears after one


def told(name: str, images: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The blocks of images (n, ...), while stderr tells how many of all have been decoded."""
    return _bar(name, images, blocks) if sys.stderr.isatty() else _lines(name, images, blocks)


def say(text: str) -> None:
    display.say(text, file=sys.stderr, flush=True)


def _lines(name: str, images: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    done, last = 0, time.monotonic()
    for block in blocks:
        yield block
        done += len(block)
        if time.monotonic() - last > SECONDS:
            last = time.monotonic()
            say(f"{name}: {done:,} of {images:,} images decoded")


def _bar(name: str, images: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(display.visible(f"Reading {name}"), total=images)
        for block in blocks:
            yield block
            progress.advance(task, len(block))
