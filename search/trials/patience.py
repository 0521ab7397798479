"""Wait for MLflow where a sweep cannot continue without it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from rich.markup import escape

from experiments.interruption import pause
from experiments.tracking import TrackingUnavailable
from search.trials.progress import TrialProgress

MLFLOW_OUTAGE_SECONDS = 600  # how long to wait for MLflow
MLFLOW_RETRY_SECONDS = 2.0

T = TypeVar("T")


def wait_for_mlflow(act: Callable[[], T], progress: TrialProgress) -> T:
    """Call `act`, and repeat it until MLflow accepts it. Call this outside of all locks.

    Raises:
        TrackingUnavailable: if MLflow has been unavailable for too long.
        KeyboardInterrupt: on Ctrl-C.
    """
    away_since: float | None = None
    while True:
        try:
            result = act()
        except TrackingUnavailable as error:
            if away_since is None:
                away_since = time.monotonic()
                progress.say(escape(f"MLflow is unavailable; waiting for it: {error}"))
            if time.monotonic() - away_since > MLFLOW_OUTAGE_SECONDS:
                raise
            progress.waiting("waiting for MLflow")
            pause(MLFLOW_RETRY_SECONDS)
            continue
        if away_since is not None:
            progress.say(f"MLflow is back after {time.monotonic() - away_since:.0f} s")
        return result
