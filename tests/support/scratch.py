"""Processes that are killed while they hold a scratch folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.commands import environment

HOLD = """
import sys, time
from pathlib import Path
from architectures.scratch import scratch_beside, scratch_folder
with scratch_beside(Path(sys.argv[1])) if sys.argv[1:] else scratch_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(path: Path | None = None, **changes: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that lives in a scratch folder, beside a path or a temporary one, until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *([str(path)] if path else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**changes),
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def killed_in_a_scratch_folder(path: Path | None = None, **changes: str) -> Path:
    """What a process left that was killed in such a folder."""
    process, folder = holder(path, **changes)
    process.kill()
    process.wait()
    return folder
