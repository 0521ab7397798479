"""Measure the cost of saving a training's state, as a share of its epochs.

Run: python benchmarks/keeping.py
     python benchmarks/keeping.py --architecture pocket --filters 8 --epochs 40

Each architecture is trained once; the time of saving its state, mostly the disk's, is measured during that training.
The state is saved as often as 2 % of the time allow (SHARE in experiments/training/state.py), so larger networks may
have to repeat more epochs after a kill.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from architectures.quiet import import_tensorflow
from experiments import datasets
from experiments.config import ModelSize, RunConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", help="default: malireddi and chollet")
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    import_tensorflow()
    from experiments.training import state
    from experiments.training.loop import train

    spent: list[float] = []
    keep = state.Keeper.keep

    def timed(self, *given, **named):  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        keep(self, *given, **named)
        spent.append(time.perf_counter() - started)

    state.Keeper.keep = timed  # type: ignore[method-assign]
    data = datasets.load("mnist5k")
    for architecture in arguments.architecture or ("malireddi", "chollet"):
        config = RunConfig(
            architecture,
            "mnist5k",
            filters=arguments.filters,
            dropout=0.3,
            batch_size=arguments.batch_size,
            epochs=arguments.epochs,
        )
        spent.clear()
        with tempfile.TemporaryDirectory(dir=".") as folder:
            file = Path(folder, "states", "study", "0.1")
            keeping = state.Keeping("key", partial(state.write_whole, file))
            keras_file = Path(folder, "model.keras")
            result = train(config, data, keras_file=keras_file, size=ModelSize(1, 1, 1), keeping=keeping)
            size = file.stat().st_size
        trained = sum(each.epoch_seconds for each in result.epochs)
        written = [each for each in spent if each > 1e-4]  # else it was too early
        print(
            f"{architecture}: {size / 1e6:.1f} MB kept after {len(written)} of {len(result.epochs)} epochs of "
            f"{trained / len(result.epochs):.2f} s, {1e3 * sum(written) / max(1, len(written)):.0f} ms each: "
            f"{100 * sum(spent) / trained:.2f} % of the epochs"
        )


if __name__ == "__main__":
    main()
