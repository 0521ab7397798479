"""Owners of trials as recorded in the study, and whether their processes are still alive."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial


def as_owner(worker: str, attempt: int = 1) -> str:
    """Return the trial attribute `owner` for this process, one of its workers, and the attempt.

    The attempt is the fencing token: no two owners of a trial share one. The run records it too.
    """
    started = psutil.Process().create_time()
    own = {"host": platform.node(), "processes": _namespace(), "pid": os.getpid(), "started": started}
    return json.dumps(own | {"worker": worker, "attempt": attempt})


def attempt_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Return the number of owners a trial has had; 0 if it was never asked."""
    owner = trial.user_attrs.get("owner")
    return json.loads(owner).get("attempt", 1) if owner else 0  # 1: recorded before attempts were counted


def may_live(trial: FrozenTrial) -> bool:
    """Return whether the process that runs a trial may still be alive.

    Only processes on this host and in this PID namespace can be checked; for others, only heartbeats tell.
    """
    owner = json.loads(trial.user_attrs.get("owner", "null"))
    if owner is None:
        return False
    if (owner["host"], owner.get("processes", _namespace())) != (platform.node(), _namespace()):
        return True
    if owner["pid"] == os.getpid():
        return False  # callers ask only about trials that this process does not run
    try:
        process = psutil.Process(owner["pid"])
        # Process ids are reused, but the start time identifies a process.
        same = abs(process.create_time() - owner["started"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE  # in containers, where there may be no init to reap it
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's process
        return True


def _namespace() -> int | None:
    """Return the PID namespace, because containers may share a host name but not process ids."""
    with suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return None
