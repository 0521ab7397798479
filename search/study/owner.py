"""Who owns a trial, as the study records it, and whether that process still lives."""

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
    """This process, one of its workers and which attempt at the trial it is, as the trial's `owner`.

    The attempt is the fencing token: no two owners of a trial have the same one, and its run holds it, too.
    """
    started = psutil.Process().create_time()
    own = {"host": platform.node(), "processes": _namespace(), "pid": os.getpid(), "started": started}
    return json.dumps(own | {"worker": worker, "attempt": attempt})


def attempt_of(trial: FrozenTrial | optuna.Trial) -> int:
    """How many owners a trial has had: 0 for one that was never asked."""
    owner = trial.user_attrs.get("owner")
    return json.loads(owner).get("attempt", 1) if owner else 0  # 1: recorded before they were counted


def may_live(trial: FrozenTrial) -> bool:
    """Whether the process that runs a trial still does, as far as this one can tell; it knows it of other processes.

    Of those on other hosts, and in containers with processes of their own, only signs of life tell.
    """
    owner = json.loads(trial.user_attrs.get("owner", "null"))
    if owner is None:
        return False
    if (owner["host"], owner.get("processes", _namespace())) != (platform.node(), _namespace()):
        return True
    if owner["pid"] == os.getpid():
        return False  # asked about those that this process does not run
    try:
        process = psutil.Process(owner["pid"])
        # A process id is used again; one that was started at the same time is the same process.
        same = abs(process.create_time() - owner["started"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE  # as in containers, where nobody may collect it
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's
        return True


def _namespace() -> int | None:
    """Within which processes are known by their ids: containers may share a host name without sharing these."""
    with suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return None
