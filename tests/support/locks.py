"""A process that holds the promotion lock of a store, or waits for it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.servers import wait_until
from tests.support.warm import Program

HOLD = """
import sys, time
from pathlib import Path
from experiments import locks
from experiments.tracking import Tracker, promotion_lock
locks.TOLD_AFTER = 0.2
promotion_lock.LEASE_SECONDS, promotion_lock.SIGN_SECONDS = map(float, sys.argv[4:6])
uri, purpose, marks = sys.argv[1:4]
with Tracker(uri).promotion_lock(purpose) as check:
    Path(marks, purpose).touch()
    while not Path(marks, f"{purpose}-end").exists():
        time.sleep(0.02)
    check()
"""


class Holder:
    """A process that asks for the lock, holds it until `end`, and checks then whether it is held still."""

    def __init__(
        self, uri: str, purpose: str, folder: Path, *, lease: float = 60, sign: float = 10, **env: str
    ) -> None:
        self.marks, self.purpose = folder / "marks", purpose
        self.marks.mkdir(exist_ok=True)
        words = (uri, purpose, self.marks, lease, sign)
        self.process = Program("tests.support.code", HOLD, *words, cwd=folder, env={**os.environ, **env})

    @property
    def holds(self) -> bool:
        return (self.marks / self.purpose).exists()

    def wait(self) -> None:
        """Wait until it has the lock."""
        wait_until(lambda: self.holds, self.process)

    def end(self) -> tuple[int | None, str]:
        """Let it release; returns its exit code and what it wrote to stderr."""
        (self.marks / f"{self.purpose}-end").touch()
        _, err = self.process.communicate(60)
        return self.process.returncode, err

    @property
    def told(self) -> str:
        """What it has written to stderr so far."""
        return self.process._outputs[1].read_text()
