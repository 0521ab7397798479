"""RGB images that are not square, from a folder to a promoted Core ML file, and what every record says of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from conversion import runtime
from experiments import datasets
from experiments.config import ModelSize, RunConfig
from experiments.datasets import Split
from experiments.training.loop import train
from tests.support.commands import Command, Outcome
from tests.support.components import require

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
COLORS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 20)}
TITLE = "folder-signs-24x32"


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """Noisy images of 36x48 in three colours, forty each, in splits of their own."""
    random = np.random.default_rng(5)
    for name, color in COLORS.items():
        for part, count in (("train", 40), ("val", 10), ("test", 10)):
            folder = tmp_path / "signs" / part / name
            folder.mkdir(parents=True)
            for place in range(count):
                noisy = np.clip(random.normal(color, 40, (36, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(folder / f"{place}.png")
    return tmp_path / "signs"


@pytest.mark.slow
def test_from_a_folder_to_a_file(signs: Path, tmp_path: Path, command: Command) -> None:
    def trial(*arguments: object) -> Outcome:
        return command(
            *("search.trial", "--dataset", "folder:signs", "--image-size", "24x32", "--architecture", "malireddi"),
            *("--filters", "4", "--batch-size", "16", "--epochs", "8", "--dropout", "0", "--json", *arguments),
        )

    found = trial()
    assert found.code == 0, found.err
    assert found.json["registered_model"] == f"{TITLE}-classifier"
    recorded = f"folder:{signs}?image_size=24x32&fit=crop&background=white"
    assert found.json["dataset"] == recorded
    data = datasets.load(recorded)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(found.json["run_id"])
    assert client.get_experiment(run.info.experiment_id).name == TITLE
    assert run.data.params["dataset"] == recorded
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == (TITLE, data.digest[:36])
    assert json.loads(given.dataset.source) == {"uri": recorded}
    assert json.loads(given.dataset.profile)["image_shape"] == [24, 32, 3]
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    promote = ["conversion.promote", "--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--json"]
    promoted = command(*promote, "--model", f"{TITLE}-classifier", cwd=elsewhere)
    assert promoted.code == 0, promoted.err
    assert promoted.json["test_accuracy"] > 0.9
    file = next(elsewhere.rglob("*.mlmodel"))
    interface = runtime.load(file).interface
    image = interface.input
    assert (image.color, image.height, image.width) == ("RGB", 24, 32)
    assert interface.labels == tuple(COLORS)
    user = interface.metadata.user_defined
    assert (user["dataset"], user["dataset_digest"]) == (TITLE, data.digest)
    assert str(tmp_path).encode() not in file.read_bytes()

    shutil.rmtree(signs / "test" / "red")
    refused = command(*promote, "--run", run.info.run_id, cwd=elsewhere)
    assert refused.code == 1
    assert refused.err.strip() == (f"error: {signs}: the classes of train and test differ: test lacks red.")
    again = trial("--seed", "1")
    assert again.code == 1
    assert "the classes of train and test differ" in again.err


def test_bad_options_are_one_line(command: Command) -> None:
    sweep = ("search.sweep", "--trials", "1")
    for arguments, message in (
        (("--image-size", "24"), "image size: '24' is not HEIGHTxWIDTH"),
        (("--image-size", "0x8", "--dataset", "folder:x"), "'0x8' is not HEIGHTxWIDTH"),
        (("--image-size", "8x8"), "--image-size: for --dataset folder:DIR alone, not for mnist5k"),
        (
            ("--color-mode", "rgb", "--dataset", "digits"),
            "--color-mode: for --dataset folder:DIR alone",
        ),
        (("--color-mode", "pink"), "invalid choice"),
        (("--dataset", "folder:nowhere"), "There is no folder /"),
    ):
        found = command(*sweep, *arguments)
        assert found.code == 2, found.err
        assert message in found.err
        assert "Traceback" not in found.err


@pytest.mark.slow
def test_debians_clothes_are_read_and_learnt(tmp_path: Path) -> None:
    require(DEBIAN.is_dir(), install="apt-get install dataset-fashion-mnist")
    clothes = datasets.load(f"idx:{DEBIAN}")
    assert clothes.class_names == tuple("0123456789")
    assert clothes.input_shape == (28, 28, 1)
    for split, each in ((clothes.train, 5_500), (clothes.val, 500), (clothes.test, 1_000)):
        assert np.bincount(split.labels).tolist() == [each] * 10
    assert clothes.digest.startswith("47843331")  # of Zalando's files and this split; another value breaks every record
    few, val = (Split(part.images[:1_000], part.labels[:1_000]) for part in (clothes.train, clothes.val))
    config = RunConfig("malireddi", clothes.name, filters=8, dropout=0.0, batch_size=20, epochs=5)
    file = tmp_path / "model.keras"
    result = train(config, replace(clothes, train=few, val=val), keras_file=file, size=ModelSize(0, 0, 0))
    assert result.best_val_accuracy > 0.5  # by chance 0.1
