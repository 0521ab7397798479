"""What pretrained weights are worth with few pictures.  Run: python benchmarks/pretrained.py FOLDER

FOLDER is the unpacked package `emoji-datasource-google` of npm (`npm pack emoji-datasource-google`, `tar xzf`): 1,906
pictures of 64x64 in nine categories, here on white at 224x224. For each seed and each number of training pictures it
trains heads on EfficientNet-Lite0's features, picks the best of them by 106 others, and says how many of a further 500
the kept network reads, with a 95 % interval; with `--top EPOCHS` it lets the last stage learn on from there too, with
`--scratch NAME` it trains a network of this project without weights. Two cores take some three minutes a seed.

`--sweep` instead writes 320 of the pictures as a folder, sweeps 12 heads with the command itself, and says its seconds
and the memory of its process tree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    import numpy as np

SIDE, OTHERS, VALIDATION = 224, 500, 106
KNOBS = {"weights": "imagenet", "train": "head", "hidden": 0}
HEADS = [{"dropout": dropout, "hidden": hidden} for hidden in (0, 128) for dropout in (0.0, 0.3, 0.6)]
HEAD_EPOCHS, BATCH, PAUSE = 30, 32, 0.2  # seconds between two looks at the memory


def pictures(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All pictures but components on white, their labels, and the categories."""
    import numpy as np
    from PIL import Image

    listed = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    listed = [one for one in listed if one["category"] != "Component" and one["has_img_google"]]
    names = tuple(sorted({one["category"] for one in listed}))
    images = np.empty((len(listed), side, side, 3), np.uint8)
    for image, one in zip(images, listed, strict=True):
        picture = Image.open(folder / "img/google/64" / one["image"]).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        image[:] = np.asarray(white.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    return images, np.array([names.index(one["category"]) for one in listed]), names


def compare(arguments: argparse.Namespace) -> None:
    """Print a row for each seed, number of pictures and way of training."""
    import numpy as np

    from architectures import get
    from architectures.quiet import import_tensorflow

    import_tensorflow()
    from experiments.classifier import forward_function, load_classifier, predict
    from experiments.config import ModelSize, RunConfig, RunResult, usual_learning_rate
    from experiments.datasets import Dataset, Split
    from experiments.evaluation.intervals import accuracy_interval
    from experiments.training.loop import train

    lite0 = get("efficientnet_lite0")

    def trained(data: Dataset, file: Path, name: str, knobs: dict[str, object], **values: object) -> RunResult:
        pairs = tuple(sorted(knobs.items()))
        usual = {"filters": get(name).default_filters, "dropout": 0.2, "batch_size": BATCH, "epochs": HEAD_EPOCHS}
        usual["learning_rate"] = usual_learning_rate("cosine", pairs)
        config = RunConfig(name, data.name, knobs=pairs, **(usual | values))
        return train(config, data, keras_file=file, size=ModelSize(0, 0, 0))

    images, labels, names = pictures(arguments.folder, SIDE)
    print("seed pictures  way          val acc   of 500 others            seconds")
    for seed in arguments.seeds:
        order = np.random.default_rng(seed).permutation(len(images))
        others, val, rest = np.split(order, [OTHERS, OTHERS + VALIDATION])
        for count in arguments.pictures:
            parts = [Split(images[rows], labels[rows]) for rows in (rest[:count], val, val[:0])]
            data = Dataset("emoji", names, *parts)
            ways: list[tuple[str, str, list[dict[str, object]]]] = [
                ("head", "efficientnet_lite0", [{**head, "seed": seed} for head in HEADS])
            ]
            if arguments.top:
                ways.append(("top", "efficientnet_lite0", [{"hidden": 0, "seed": seed, "epochs": arguments.top}]))
            ways += [(name, name, [{"seed": seed, "augment": True}]) for name in arguments.scratch]
            for way, name, tries in ways:
                started, best = time.perf_counter(), None
                with tempfile.TemporaryDirectory() as folder:
                    for number, values in enumerate(tries):
                        file = Path(folder, f"{number}.keras")
                        knobs = {}
                        if name == lite0.name:
                            own = {"train": way, "hidden": values.pop("hidden")}
                            knobs = lite0.pinned({**KNOBS, **own})
                        result = trained(data, file, name, knobs, **values)
                        if best is None or result.best_val_accuracy > best.best_val_accuracy:
                            best = result
                    assert best is not None
                    seconds = time.perf_counter() - started
                    forward = forward_function(load_classifier(best.keras_file, best.keras_sha256))
                    right = int((predict(forward, images[others]).argmax(axis=1) == labels[others]).sum())
                low, high = accuracy_interval(right, OTHERS)
                print(
                    f"{seed:>4} {count:>8}  {way:<12} {best.best_val_accuracy:.3f}     {right / OTHERS:.3f} "
                    f"({low:.3f} to {high:.3f})   {seconds:.0f} for {len(tries)}",
                    flush=True,
                )


def sweep(arguments: argparse.Namespace) -> None:
    """Print what the command takes for 320 pictures of four categories."""
    import numpy as np
    import psutil
    from PIL import Image

    images, labels, names = pictures(arguments.folder, SIDE)
    with tempfile.TemporaryDirectory() as place:
        for label in range(4):
            folder = Path(place, "photographs", names[label].replace(" & ", "-"))
            folder.mkdir(parents=True)
            for number in np.flatnonzero(labels == label)[:80]:
                Image.fromarray(images[number]).save(folder / f"{number}.png")
        command = [sys.executable, "-m", "search.sweep", "--dataset", "folder:photographs", "--study", "heads"]
        command += ["--architecture", "efficientnet_lite0", "--knob", "weights=imagenet", "--knob", "train=head"]
        command += ["--augment", "off", "--trials", "12", "--batch-size", "16,32", "--learning-rate", "1e-3:1e-2"]
        surroundings = {**os.environ, "XDG_CACHE_HOME": place, "PYTHONPATH": str(Path(__file__).parents[1])}
        started, most = time.perf_counter(), 0
        with subprocess.Popen([*command, "--json"], cwd=place, env=surroundings, stdout=subprocess.PIPE) as process:
            tree = psutil.Process(process.pid)
            while process.poll() is None:
                now = 0
                for one in [tree, *tree.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                        now += one.memory_full_info().pss
                most = max(most, now)
                time.sleep(PAUSE)
            result = json.load(process.stdout)
        best = result["leaderboard"][0]
        print(f"12 trials in {time.perf_counter() - started:.0f} s, {result['trials_seconds']:.0f} s of them trials")
        print(f"most memory of the process tree: {most / 2**30:.2f} GiB")
        print(f"best val_accuracy {best['val_accuracy']:.4f}, {best['coreml_bytes']:,} bytes, knobs {best['knobs']}")
        if arguments.keep:
            import shutil

            shutil.copytree(place, arguments.keep, dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, nargs="+", default=(400, 1_300), help="to train on")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--top", type=int, metavar="EPOCHS", help="of the last stage, too")
    parser.add_argument("--scratch", nargs="+", default=(), metavar="NAME", help="networks without weights")
    parser.add_argument("--sweep", action="store_true", help="of heads for 320 pictures, by the command")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the sweep's store is copied to")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    (sweep if arguments.sweep else compare)(arguments)


if __name__ == "__main__":
    main()
