"""Entry points run as a person runs them: in a process of their own, or in this one, which has imported everything."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of error; fails if there are more, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0]


class Command(Protocol):
    """Runs an entry point's `main` in this process, in an empty folder unless one is given."""

    def __call__(self, module: str, *arguments: object, cwd: Path = ...) -> Outcome: ...


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that finds this checkout's packages and `tests` wherever it is started."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **changes}


def entry_point(module: str) -> Callable[[list[str]], int]:
    """The `main` of what `python -m module` runs: of a package that has none, its `__main__`'s."""
    found = importlib.import_module(module)
    return found.main if hasattr(found, "main") else importlib.import_module(f"{module}.__main__").main


def run_module(module: str, *arguments: object, cwd: Path, **changes: str) -> Outcome:
    """Run `python -m module` in a folder: a cold start, which imports everything anew."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=environment(COLUMNS="140", **changes),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def invoke(module: str, *arguments: object, cwd: Path, **changes: str) -> Outcome:
    """Run the `main` of `python -m module` in this process, with a folder, an environment and outputs of its own.

    Where a model's artifacts lie, which MLflow remembers by its id, is forgotten: copies of a store have equal ids.
    """
    from mlflow.tracking._tracking_service import utils  # takes seconds, and pytest's first process needs none of it

    utils._artifact_repos_cache.clear()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with (
            _redirected(1, "stdout", out),
            _redirected(2, "stderr", err),
            contextlib.chdir(cwd),
            patch.dict(os.environ, changes),
        ):
            try:
                code = entry_point(module)([str(argument) for argument in arguments])
            except SystemExit as stopped:  # argparse
                code = int(stopped.code or 0)
        return Outcome(code, out.read_text(), err.read_text())


@contextlib.contextmanager
def _redirected(number: int, name: str, path: Path) -> Iterator[None]:
    """Send an output of this process and of its C++ to a file."""
    saved = os.dup(number)
    try:
        with path.open("wb", buffering=0) as file:
            os.dup2(file.fileno(), number)
            text = io.TextIOWrapper(file, encoding="utf-8", write_through=True)
            with patch.object(sys, name, text):
                yield
            text.detach()
    finally:
        os.dup2(saved, number)
        os.close(saved)
