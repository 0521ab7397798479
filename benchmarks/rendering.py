"""Measure the time from strokes to the image for a model: a digit, and scribbles of 2,000 points.

Run: python benchmarks/rendering.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from experiments.evaluation.strokes import render_strokes

PAD = 300.0
POINTS = 2_000
REPEATS = 50


def main() -> None:
    random = np.random.default_rng(0)
    turn = np.linspace(0, 60, POINTS)
    spiral = PAD / 2 + 0.45 * PAD * np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / turn.max()
    drawings = {
        "a seven": [[(60, 50), (200, 50), (110, 250)]],
        "a spiral": [spiral.tolist()],
        "random points": [random.uniform(0, PAD, (POINTS, 2)).tolist()],
        "random lines": random.uniform(0, PAD, (POINTS // 2, 2, 2)).tolist(),
    }
    for name, strokes in drawings.items():
        passed, worked = [], []
        for _ in range(REPEATS):
            started = time.perf_counter(), time.thread_time()
            render_strokes(strokes, pad=PAD)
            passed.append((time.perf_counter() - started[0]) * 1e3)
            worked.append((time.thread_time() - started[1]) * 1e3)
        print(
            f"{name} ({sum(map(len, strokes)):,} points): median {statistics.median(passed):.2f} ms, "
            f"{statistics.median(worked):.2f} ms of the processor; longest {max(passed):.2f} ms"
        )


if __name__ == "__main__":
    main()
