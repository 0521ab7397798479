"""Data larger than memory: decoded once to disk, streamed through tf.data, the same bits as from memory.

The limit is on what a process may allocate (RLIMIT_DATA, which Linux counts from private writable memory): mapped files
are not in it, arrays are. It is counted from what a warm process holds of libraries when it starts, some 600 MiB.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from architectures.errors import ProjectError
from experiments import datasets
from experiments.config import ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split, cache, progress
from experiments.training import streaming
from experiments.training.loop import train
from search.engines.shared_data import open_dataset, save_dataset
from tests.support.commands import Outcome
from tests.support.scratch import killed_in_a_scratch_folder
from tests.support.warm import Program

DISTINCT = 16  # images of a class in a folder; all others are links to these, and stay with them in a split
LIMIT = 384 * 2**20  # bytes that each process may allocate beside its libraries
THUMBNAIL = """
import keras
from architectures import register

@register(default_filters=4)
def thumbnail(input_shape, num_classes, *, filters, dropout):
    \"\"\"Means of sixteen by sixteen pixels, and a dense layer.\"\"\"
    layers = [keras.Input(input_shape), keras.layers.AveragePooling2D(16), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(num_classes, activation="softmax")])
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pocketnets" / "datasets"


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all but the smallest data be larger than memory."""
    monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 1_000)


def bright(label: int, count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noisy images that their brightness tells apart."""
    noise = np.random.default_rng(seed).integers(0, 120, (count, *shape), dtype=np.uint8)
    return noise + np.uint8(60 * label)


def write_idx(folder: Path, *, images: int, side: int, block: int = 1) -> None:
    """A gzipped set of three classes with `images` to train on, written block by block, each block the same."""
    folder.mkdir()
    some = np.concatenate([bright(label, block, (side, side), label) for label in range(3)])
    for prefix, count in (("train", images), ("t10k", images // 16)):
        repeats = count // len(some)
        for kind, array in (("images-idx3", some), ("labels-idx1", np.repeat(np.arange(3, dtype=np.uint8), block))):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, repeats * len(array), *array.shape[1:])
            repeated = gzip.compress(array.tobytes(), compresslevel=1)  # a file may consist of several
            with (folder / f"{prefix}-{kind}-ubyte.gz").open("wb") as file:
                file.write(gzip.compress(header))
                for _ in range(repeats):
                    file.write(repeated)


def write_folder(folder: Path, *, each: int, shape: tuple[int, ...]) -> None:
    """A folder of three classes of RGB images: red, green, blue."""
    for label in range(3):
        (folder / f"class {label}").mkdir(parents=True)
        for place, image in enumerate(bright(0, DISTINCT, shape, label)):
            image[..., label] += 120
            first = folder / f"class {label}" / f"{place:04}.png"
            Image.fromarray(image).save(first, compress_level=1)
            for number in range(place + DISTINCT, each, DISTINCT):
                first.with_name(f"{number:04}.png").hardlink_to(first)


LIMITED = f"""
import os, re, resource, sys
from pathlib import Path
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # threads' stacks count
held = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + {LIMIT}, held + {LIMIT}))
from tests.support.commands import entry_point
sys.exit(entry_point(sys.argv[1])(sys.argv[2:]))
"""


def limited(module: str, *arguments: object, cwd: Path) -> Outcome:
    """Run a command whose processes may each allocate LIMIT bytes beside their libraries."""
    program = Program("tests.support.code", LIMITED, module, *arguments, cwd=cwd)
    out, err = program.communicate(500)
    return Outcome(program.wait(), out, err)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["idx", "folder"])
def test_data_larger_than_the_limit_of_memory(kind: str, tmp_path: Path, own_cache: Path) -> None:
    if kind == "idx":
        write_idx(tmp_path / "big", images=6_240, side=256, block=16)
    else:
        write_folder(tmp_path / "big", each=768, shape=(256, 256, 3))
    (tmp_path / "thumbnail.py").write_text(THUMBNAIL)
    batch = 16 if kind == "idx" else 8  # in float32 it counts, too, several times over: 4 and 6 MB
    chosen = ("--plugin", "thumbnail.py", "--json")
    trained = limited(
        *("search.trial", "--dataset", f"{kind}:big", "--architecture", "thumbnail", "--batch-size", batch),
        *("--epochs", "2", "--learning-rate", "0.01", *chosen),
        cwd=tmp_path,
    )
    assert trained.code == 0, trained.err
    result = trained.json
    assert result["best_val_accuracy"] > 0.9
    decoded = sum(file.stat().st_size for file in own_cache.rglob("*_images.npy"))
    assert decoded > LIMIT
    assert f"{kind}-big: " in trained.err
    assert "MiB of decoded images cached in" in trained.err
    promoted = limited("conversion.promote", "--run", result["run_id"], *chosen, cwd=tmp_path)
    assert promoted.code == 0, promoted.err
    assert "cached" not in promoted.err  # it is there
    assert promoted.json["test_accuracy"] > 0.9


def sources(folder: Path) -> list[str]:
    write_idx(folder / "some idx", images=240, side=12, block=4)
    write_folder(folder / "some images", each=30, shape=(10, 14, 3))
    return [f"idx:{folder / 'some idx'}", f"folder:{folder / 'some images'}?image_size=8x6"]


def assert_same(one: Dataset, other: Dataset) -> None:
    assert (one.name, one.class_names, one.digest) == (other.name, other.class_names, other.digest)
    for part in ("train", "val", "test"):
        ours, theirs = getattr(one, part), getattr(other, part)
        assert np.array_equal(ours.images, theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)


def test_from_disk_it_is_the_same_data(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in sources(tmp_path):
        in_memory = datasets.load(name)
        assert not own_cache.exists()
        with monkeypatch.context() as small:
            small.setattr(cache, "IN_MEMORY_BYTES", 1_000)
            small.setattr(cache, "BLOCK_BYTES", 2_000)
            small.setattr(progress, "SECONDS", 0.0)
            decoded = datasets.load(name)
        assert isinstance(decoded.train.images, np.memmap)
        said = capfd.readouterr().err
        assert f"images decoded\n{decoded.name}: " in said
        (folder,) = own_cache.iterdir()
        assert f"MiB of decoded images cached in {folder}\n" in said
        assert {file.name for file in folder.iterdir()} >= {"dataset.json", "train_images.npy", "test_labels.npy"}
        assert_same(in_memory, decoded)
        again = datasets.load(name)  # the cache is there and serves
        assert isinstance(again.train.images, np.memmap)
        assert capfd.readouterr().err == ""
        assert_same(in_memory, again)
        assert replace(again, test=again.val).digest != again.digest
        with pytest.raises(ValueError, match="read-only"):
            again.train.images[0] = 0
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        own_cache.rmdir()


@pytest.mark.usefixtures("small_memory")
def test_other_files_and_a_damaged_cache_are_decoded_again(tmp_path: Path, own_cache: Path) -> None:
    _, name = sources(tmp_path)
    first = datasets.load(name)
    images = first.val.images.copy()
    (folder,) = own_cache.iterdir()
    with (folder / "val_images.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    assert datasets.load(name).digest == first.digest
    assert np.array_equal(datasets.load(name).val.images, images)
    Image.new("RGB", (14, 10), "red").save(tmp_path / "some images" / "class 0" / "red.png")
    assert datasets.load(name).digest != first.digest
    assert len(list(own_cache.iterdir())) == 2


@pytest.mark.usefixtures("small_memory")
def test_notes_stay_with_a_cache_and_tell_what_came_since(tmp_path: Path, own_cache: Path) -> None:
    _, name = sources(tmp_path)
    (copies,) = datasets.load(name).notes
    assert "images are a copy of another" in copies
    (tmp_path / "some images" / "class 0" / "x.txt").write_text("x")
    told = ("1 file not read: 1 .txt", copies)
    assert datasets.load(name).notes == told
    (folder,) = own_cache.iterdir()
    facts = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(facts | {"notes": None}))  # a kill came before they were written
    assert datasets.load(name).notes == told


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("damage", ["gzip", "image"])
def test_damaged_files_leave_no_cache(damage: str, tmp_path: Path, own_cache: Path) -> None:
    idx, folder = sources(tmp_path)
    if damage == "gzip":
        file = tmp_path / "some idx" / "train-images-idx3-ubyte.gz"
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file = tmp_path / "some images" / "class 2" / "0007.png"
        content = file.read_bytes()
        file.unlink()  # others are links to the same
        file.write_bytes(content[:-60])
    with pytest.raises(ProjectError, match=f"{file.name} is (damaged|not a readable image)"):
        datasets.load(idx if damage == "gzip" else folder)
    assert list(own_cache.iterdir()) == []


@pytest.mark.usefixtures("small_memory")
def test_what_a_killed_process_left_is_removed(tmp_path: Path, own_cache: Path) -> None:
    name, _ = sources(tmp_path)
    datasets.load(name)
    (folder,) = own_cache.iterdir()
    left = killed_in_a_scratch_folder(folder)
    folder.rename(left / "half-written")
    datasets.load(name)
    assert list(own_cache.iterdir()) == [folder]


DISK_FULL = """
import resource, signal, sys
from experiments.datasets import cache, progress
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache.IN_MEMORY_BYTES = 1000
{limit}
from search import trial
sys.exit(trial.main(sys.argv[1:]))
"""
LIMITS = {
    "before": "import shutil\nshutil.disk_usage = lambda path, real=shutil.disk_usage: real(path)._replace(free=9)",
    "meanwhile": "import errno, numpy as np\n"
    "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    "cache.write_array_header_1_0 = full",
}


@pytest.mark.parametrize("when", LIMITS)
def test_a_full_disk_is_one_line(when: str, tmp_path: Path, own_cache: Path) -> None:
    name, _ = sources(tmp_path)
    code = DISK_FULL.format(limit=LIMITS[when])
    program = Program("tests.support.code", code, "--architecture", "malireddi", "--dataset", name, cwd=tmp_path)
    _, err = program.communicate()
    assert program.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("error: idx-some-idx does not fit into memory, and its 0 MiB of decoded images not on the")
    assert line.endswith("MiB are free. Free some, or set XDG_CACHE_HOME to another disk.")
    assert list(own_cache.iterdir()) == []


def test_workers_map_the_cache_itself(tmp_path: Path, small_memory: None) -> None:
    name, _ = sources(tmp_path)
    dataset = datasets.load(name)
    shared = tmp_path / "shared"
    shared.mkdir()
    save_dataset(dataset, shared)
    opened = open_dataset(shared)
    assert np.array_equal(opened.train.images, dataset.train.images)
    assert (shared / "train_images.npy").is_symlink()
    part = replace(dataset, train=replace(dataset.train, images=dataset.train.images[:9]))  # a view is not the file
    (tmp_path / "part").mkdir()
    save_dataset(part, tmp_path / "part")
    assert len(open_dataset(tmp_path / "part").train.images) == 9


def trained(config: RunConfig, dataset: Dataset, folder: Path) -> RunResult:
    return train(config, dataset, keras_file=folder / "model.keras", size=lambda _: ModelSize(0, 0, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "float32"},
        pytest.param({"precision": "mixed_bfloat16"}, marks=pytest.mark.slow),
        pytest.param({"augment": "photo", "mixup": 0.4, "cutmix": 1.0}, marks=pytest.mark.slow),
    ],
)
def test_streamed_training_gives_the_same_bits(changes: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = datasets.load("mnist5k")
    few = replace(whole, train=Split(whole.train.images[:1_010], whole.train.labels[:1_010]))
    config = RunConfig("malireddi", "mnist5k", filters=8, dropout=0.2, batch_size=100, epochs=3, **changes)
    in_memory = trained(config, few, tmp_path)
    calls: list[int] = []
    batches = streaming.batches

    def counted(*arguments, **options):
        calls.append(1)
        return batches(*arguments, **options)

    monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 1_000)
    monkeypatch.setattr(streaming, "batches", counted)
    streamed = trained(config, few, tmp_path)
    assert calls
    assert streamed.weights_sha256 == in_memory.weights_sha256
    assert [replace(epoch, epoch_seconds=0) for epoch in streamed.epochs] == [
        replace(epoch, epoch_seconds=0) for epoch in in_memory.epochs
    ]
    assert np.array_equal(streamed.val_probabilities, in_memory.val_probabilities)
