"""Measure the cost of a trial without its training, as the study grows: a sweep whose training does nothing.

Run: python benchmarks/bookkeeping.py --trials 1000
     python benchmarks/bookkeeping.py --trials 1000 --storage postgresql+psycopg://USER@HOST/DATABASE

It prints the median time of the first trials, of those around each further hundred, and of the last, with their ratio,
and the same for this process's processor time, which other work on the machine affects less. A trial is asked for,
drawn, started, measured, reports ten epochs that are judged, and is ended, in Optuna's storage and in MLflow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from datetime import datetime

from no_training import NoTraining

WINDOW = 50  # trials whose median is taken


class Timed(NoTraining):
    """Notes when each trial is submitted."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[float, float]] = []

    def submit(self, job):  # type: ignore[no-untyped-def]
        self.times.append((time.perf_counter(), time.process_time()))
        super().submit(job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--storage", default="sqlite:///optuna.db", help="of the study (default: SQLite)")
    parser.add_argument("--tracking-uri", default="sqlite:///mlflow.db")
    parser.add_argument("--pruner", default="median")
    arguments = parser.parse_args()

    from search.config import SweepConfig
    from search.orchestrate import sweep

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        engine = Timed()
        config = SweepConfig(
            tracking_uri=arguments.tracking_uri,
            storage=arguments.storage,
            study=f"bookkeeping-{datetime.now():%Y%m%d-%H%M%S}",
            trials=arguments.trials,
            epochs=10,
            pruner=arguments.pruner,
            filters=tuple(range(4, 36)),
            keep=1,
        )
        sweep(config, engine=lambda _: engine)
        os.chdir("/")
    wall, cpu = (
        [1e3 * (after[clock] - before[clock]) for before, after in zip(engine.times, engine.times[1:], strict=False)]
        for clock in (0, 1)
    )
    for start in [*range(0, len(wall) - WINDOW, 100), len(wall) - WINDOW]:
        figures = [
            f"{(median := statistics.median(spent[start : start + WINDOW])):6.1f} ms {what}, "
            f"{median / statistics.median(spent[:WINDOW]):.2f} of the first"
            for what, spent in (("passed", wall), ("of the processor", cpu))
        ]
        print(f"trials {start + 1:>5} to {start + WINDOW:>5}: {'; '.join(figures)}")


if __name__ == "__main__":
    main()
