"""A promotion, a rollback and a pruning that are struck: each in a process of its own that ends at a chosen step."""

from __future__ import annotations

import copyreg
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Engine, event

from conversion.promotion.publish import Overtaken
from conversion.promotion.restore import RollbackRefused, rollback
from experiments.model_files import prune
from experiments.tracking import Tracker
from tests.support.judged import Judged
from tests.support.killed_at import KILLED

REFUSED = 3
STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")  # on disk; beside each statement of SQL


def act(actions: str, folder: Path, kill_at: int | None, counted: Path | None = None) -> None:
    """In a process of its own: do things in a folder, and end as by kill -9 at the step of that number.

    Args:
        actions: promote, rollback or prune, several with spaces between them; the exit code is that of the last.
        folder: with the store, the file's place, `judged` as written by `keep`, and `tmp` for temporary files.
        kill_at: before which step, counted from 1; None: not at all.
        counted: where the number of steps is written.
    """
    os.chdir(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    judged: Judged = pickle.loads((folder / "judged").read_bytes())
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    Tracker(uri)  # connected, which is no step
    steps = 0

    def step(*_: object, **__: object) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os._exit(KILLED)

    def audited(name: str, arguments: tuple[object, ...]) -> None:
        if name in STEPS and str(arguments[0]).startswith(str(folder)):
            step()

    event.listen(Engine, "before_cursor_execute", step)
    sys.addaudithook(audited)
    known: dict[str, Callable[[], object]] = {
        "promote": lambda: judged.publish(uri),
        "rollback": lambda: rollback(uri),
        "prune": lambda: prune(Tracker(uri)),
    }
    refused = False
    for action in actions.split():
        try:
            known[action]()
        except Exception as error:
            if not isinstance(error, RollbackRefused | Overtaken) and "has been removed since" not in str(error):
                raise
            refused = True
        else:
            refused = False
    if refused:
        sys.exit(REFUSED)
    if counted:
        counted.write_text(str(steps))


def _proxy(values: dict) -> MappingProxyType:
    return MappingProxyType(values)


def keep(judged: Judged, folder: Path) -> None:
    """Write what `act` promotes into a folder."""
    copyreg.pickle(MappingProxyType, lambda proxy: (_proxy, (dict(proxy),)))
    (folder / "judged").write_bytes(pickle.dumps(judged))
