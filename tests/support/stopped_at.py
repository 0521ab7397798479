"""A sweep that a test stops at one of its writes, as SIGSTOP, a laptop's lid or a paused machine does."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

MLFLOW_WRITES = (
    "create_run",
    "update_run",
    "delete_run",
    "set_tag",
    "delete_tag",
    "set_terminated",
    "log_batch",
    "log_inputs",
    "log_outputs",
    "log_artifacts",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "delete_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_alias",
)
STUDY_WRITES = (
    "set_study_user_attr",
    "_create_new_trial",
    "set_trial_state_values",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_intermediate_value",
    "_set_trial_param",
)
RACE_SECONDS = 0.3  # of an epoch where both sweeps are to be at work at once


def count_writes(stop_at: int | None) -> list[str]:
    """Name each write to MLflow and to the study as it comes; stop this process right before one, from 1."""
    from mlflow import MlflowClient

    from search.study.storage import PatientStorage

    seen: list[str] = []

    def watch(holder: type, name: str) -> None:
        real = getattr(holder, name)

        @functools.wraps(real)
        def watched(*arguments: object, **options: object) -> object:
            seen.append(name)
            if len(seen) == stop_at:
                os.kill(os.getpid(), signal.SIGSTOP)
            return real(*arguments, **options)

        setattr(holder, name, watched)

    for name in MLFLOW_WRITES:
        watch(MlflowClient, name)
    for name in STUDY_WRITES:
        watch(PatientStorage, name)
    return seen


def run(folder: Path, *, stop_at: int | None = None, epoch_seconds: float = 0.0, names: Path | None = None) -> None:
    """In a process of its own: sweep in a folder without training, stopped before the write of that number."""
    os.chdir(folder)
    from architectures.errors import ProjectError
    from search.config import SweepConfig
    from search.orchestrate import sweep
    from search.trials import loop
    from tests.support.untrained import untrained

    seen = count_writes(stop_at)
    loop.OTHERS_SECONDS = 0.3
    config = SweepConfig(
        tracking_uri="sqlite:///mlflow.db",
        study="stopped",
        trials=2,
        epochs=2,
        filters=(4, 8),
        pruner="none",
        keep=1,
        figures=False,
        takeover_after=2,
    )
    try:
        sweep(config, engine=lambda setup: untrained(setup, 1, epoch_seconds))
    except ProjectError as error:
        sys.exit(f"error: {error}")
    if names:
        names.write_text("\n".join(seen))


def silence(folder: Path) -> bool:
    """Let what a stopped sweep runs look as if it had been silent for long; False where it has the database locked."""
    with closing(sqlite3.connect(folder / "optuna.db", timeout=0.2)) as database:
        try:
            database.execute("update trial_heartbeats set heartbeat = datetime('now', '-1 hour')")
            database.commit()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
    return True
