"""Measure the memory of a long sweep: the resident memory of its processes as trials end.

Run: python benchmarks/memory.py --trials 200

Keras keeps some megabytes of every model that a process has built. Workers that have grown by `MAX_GROWTH_BYTES` are
replaced between trials, so that a sweep's memory does not grow with the number of trials. It prints mean and maximum
total of the sweep and its workers, by twentieths of the trials.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psutil

SAMPLE_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", default="1")
    arguments = parser.parse_args()
    sweep = [sys.executable, "-m", "search.sweep", "--trials", str(arguments.trials), "--workers", arguments.workers]
    sweep += ["--epochs", "1", "--pruner", "none", "--filters", "4,6,8,10,12", "--keep", "1"]
    samples: list[tuple[int, float]] = []  # trials that have ended, megabytes
    ended = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(sweep, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process,
    ):
        root = psutil.Process(process.pid)

        def sample() -> None:
            while process.poll() is None:
                total = 0
                for one in [root, *root.children(recursive=True)]:
                    try:
                        total += one.memory_info().rss
                    except psutil.Error:
                        continue
                samples.append((ended, total / 2**20))
                time.sleep(SAMPLE_SECONDS)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        assert process.stderr is not None
        for line in process.stderr:
            ended += bool(re.match(r"trial +\d+ ", line))
        thread.join()
    step = max(1, arguments.trials // 20)
    for start in range(0, arguments.trials, step):
        held = [megabytes for number, megabytes in samples if start <= number < start + step and number]
        if held:
            mean = f"mean {statistics.mean(held):6.0f} MB, most {max(held):6.0f} MB"
            print(f"trials {start:>4} to {start + step:>4}: {mean}")


if __name__ == "__main__":
    main()
