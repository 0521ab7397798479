"""Measure the benefit of pretrained weights with few pictures.  Run: python benchmarks/pretrained.py FOLDER

FOLDER is the unpacked package `emoji-datasource-google` of npm (`npm pack emoji-datasource-google`, `tar xzf`): 1,906
pictures of 64x64 in nine categories, here on white at 224x224; or Fashion-MNIST's files, of whose training images 3,000
are taken; or a folder with a folder of pictures for each class, such as benchmarks/tiles.py makes.

For each seed and each number of training pictures, it trains heads on EfficientNet-Lite0's last features, selects the
best of six on 106 others, and prints the accuracy of the kept network on a further 500, with a 95 % interval. Other
variants are compared with it on the same 500: McNemar's exact test for each seed, and Student's t over their
differences: first, the same six heads on the features of all stages. `--views K`: heads on K views of each picture,
augmented as photographs. `--learn top EPOCHS`, `--learn all EPOCHS`: fine-tune the last stage or all of the backbone,
with the features of all stages. `--scratch NAME:FILTERS ...`: networks of this project without weights, two trials of
each, the best of all.

`--sweep` instead writes 320 of the pictures as a folder, sweeps 12 heads with the command itself, and prints its
seconds and the memory of its process tree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    import numpy as np

SIDE = 224
SOME = 3_000  # of Fashion-MNIST's training images
HEADS = (0.0, 0.3, 0.6)  # rates of dropout, each without and with a hidden layer
SCRATCH = (0.2, 0.5)  # rates of dropout of each network from scratch
EPOCHS, BATCH, PAUSE = 30, 32, 0.2  # seconds between two looks at the memory


def pictures(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Pictures at a size, their labels, and the classes."""
    if (folder / "emoji.json").exists():
        return emoji(folder, side)
    import numpy as np
    from PIL import Image

    def sized(image: Image.Image) -> np.ndarray:
        found = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
        return found[..., None] if found.ndim == 2 else found

    if any(folder.glob("train-images*")):
        from experiments import datasets

        data = datasets.load(f"idx:{folder}")
        few = np.random.default_rng(0).permutation(len(data.train))[:SOME]
        images = [sized(Image.fromarray(image[..., 0])) for image in data.train.images[few]]
        return np.stack(images), data.train.labels[few], data.class_names
    names = tuple(sorted(place.name for place in folder.iterdir()))
    files = [(file, label) for label, name in enumerate(names) for file in sorted((folder / name).iterdir())]
    images = [sized(Image.open(file).convert("RGB")) for file, _ in files]
    return np.stack(images), np.array([label for _, label in files]), names


def emoji(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
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


@dataclass(frozen=True)
class Way:
    """A way of training, of whose trials the best by validation accuracy counts."""

    name: str
    side: int  # of the pictures, in pixels
    trials: list[dict[str, Any]]  # fields of a RunConfig


def ways(arguments: argparse.Namespace) -> list[Way]:
    """Heads, and what else was asked for."""
    from architectures import get

    lite0 = get("efficientnet_lite0")

    def backbone(train: str, features: str, hidden: int = 0, **values: object) -> dict[str, Any]:
        given = {"weights": "imagenet", "train": train, "features": features, "hidden": hidden}
        return {
            "architecture": lite0.name,
            "filters": None,
            "knobs": tuple(sorted(lite0.pinned(given).items())),
        } | values

    found = [
        Way(way, SIDE, [backbone("head", features, hidden, dropout=rate) for hidden in (0, 128) for rate in HEADS])
        for way, features in (("head", "last"), ("stages", "stages"))
    ]
    if arguments.views:
        views = {"augment": "photo", "views": arguments.views}
        found.append(Way("views", SIDE, [trial | views for trial in found[0].trials]))
    for train, epochs in arguments.learn:
        found.append(Way(train, SIDE, [backbone(train, "stages", dropout=0.3, epochs=int(epochs))]))
    if arguments.scratch:
        networks = [text.partition(":")[::2] for text in arguments.scratch]
        trials = [
            {"architecture": name, "filters": int(filters or get(name).default_filters), "dropout": rate}
            for name, filters in networks
            for rate in SCRATCH
        ]
        found.append(Way("scratch", arguments.scratch_side, trials))
    return found


def compare(arguments: argparse.Namespace) -> None:
    """Print a row for each seed, number of pictures and way of training, and what they differ by."""
    import numpy as np

    from architectures.quiet import import_tensorflow

    import_tensorflow()
    from experiments.classifier import forward_function, load_classifier, predict
    from experiments.config import ModelSize, RunConfig, RunResult, usual_learning_rate
    from experiments.datasets import Dataset, Split
    from experiments.evaluation.intervals import accuracy_interval
    from experiments.training.loop import train

    asked = ways(arguments)
    seen = {way.side: pictures(arguments.folder, way.side) for way in asked}
    read: dict[tuple[str, int], list[np.ndarray]] = {}  # of the others, by way and number of pictures: one array a seed
    print("seed pictures  way      val acc   of the others           processor seconds, best trial")
    for seed in arguments.seeds:
        order = np.random.default_rng(seed).permutation(len(seen[SIDE][0]))
        others, val, rest = np.split(order, [arguments.others, arguments.others + arguments.validation])
        if arguments.per_class:  # the first of each class, then the second ones
            rest = rest[np.argsort(occurrences(seen[SIDE][1][rest]), kind="stable")]
        for count in arguments.pictures:
            for way in asked:
                images, labels, names = seen[way.side]
                parts = [Split(images[rows], labels[rows]) for rows in (rest[:count], val, val[:0])]
                data = Dataset("emoji", names, *parts)
                started = time.process_time()
                best: tuple[RunResult, RunConfig] | None = None
                with tempfile.TemporaryDirectory() as folder:
                    for number, values in enumerate(way.trials):
                        usual: dict[str, Any] = {"batch_size": BATCH, "epochs": EPOCHS, "seed": seed}
                        usual["learning_rate"] = usual_learning_rate("cosine", values.get("knobs", ()))
                        config = RunConfig(dataset=data.name, **(usual | values))
                        file = Path(folder, f"{number}.keras")
                        result = train(config, data, keras_file=file, size=ModelSize(0, 0, 0))
                        if best is None or result.best_val_accuracy > best[0].best_val_accuracy:
                            best = result, config
                    assert best is not None
                    seconds = time.process_time() - started
                    forward = forward_function(load_classifier(best[0].keras_file, best[0].keras_sha256))
                    right = predict(forward, images[others]).argmax(axis=1) == labels[others]
                read.setdefault((way.name, count), []).append(right)
                low, high = accuracy_interval(int(right.sum()), len(right))
                print(
                    f"{seed:>4} {count:>8}  {way.name:<8} {best[0].best_val_accuracy:.3f}     {right.mean():.3f} "
                    f"({low:.3f} to {high:.3f})   {seconds:.0f} for {len(way.trials)}, {best[1].architecture} "
                    f"dropout {best[1].dropout:g} {dict(best[1].knobs).get('hidden', '')}",
                    flush=True,
                )
    for count in arguments.pictures:
        for way in asked:
            mean = [float(right.mean()) for right in read[way.name, count]]
            print(f"{count} pictures, {way.name}: {spread(mean)}")
            if way.name != "head":
                pairs = list(zip(read["head", count], read[way.name, count], strict=True))
                tests = ", ".join(f"{mcnemar(*pair):.2g}" for pair in pairs)
                difference = [float(one.mean() - other.mean()) for one, other in pairs]
                print(f"  head less {way.name}: {spread(difference)}; McNemar's p of each seed {tests}")


def occurrences(labels: np.ndarray) -> np.ndarray:
    """How many of the labels before each one are the same.

    >>> import numpy as np
    >>> occurrences(np.array([3, 1, 3, 3]))
    array([0, 0, 1, 2])
    """
    import numpy as np

    return np.array([int((labels[:place] == label).sum()) for place, label in enumerate(labels)])


def spread(values: list[float]) -> str:
    """A mean over seeds with the 95 % interval of Student's t."""
    import statistics

    from experiments.evaluation.intervals import mean_interval

    interval = mean_interval(values)
    bounds = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{statistics.mean(values):.3f}{bounds}"


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The exact two-sided p of two classifiers' right answers for the same pictures."""
    from scipy.stats import binomtest

    alone = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0


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
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
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
        seconds, ended = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = ended.ru_utime + ended.ru_stime - used.ru_utime - used.ru_stime
        best = result["leaderboard"][0]
        print(
            f"12 trials in {seconds:.0f} s, {result['trials_seconds']:.0f} s of them trials; {processor:.0f} s of cores"
        )
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
    parser.add_argument("--others", type=int, default=500, help="that the best of each way is tried on")
    parser.add_argument("--validation", type=int, default=106, help="that it is picked by")
    parser.add_argument("--per-class", action="store_true", help="as many of each class, as far as there are")
    parser.add_argument("--views", type=int, metavar="K", help="heads on augmented views, too")
    parser.add_argument("--learn", nargs=2, action="append", default=[], metavar=("PART", "EPOCHS"), help="top or all")
    parser.add_argument("--scratch", nargs="+", default=(), metavar="NAME:FILTERS", help="networks without weights")
    parser.add_argument("--scratch-side", type=int, default=32, help="pixels of their pictures")
    parser.add_argument("--sweep", action="store_true", help="of heads for 320 pictures, by the command")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the sweep's store is copied to")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    (sweep if arguments.sweep else compare)(arguments)


if __name__ == "__main__":
    main()
