"""Runs trained again from their records: what is said of the same, and of everything that may be otherwise."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from architectures.plugins import plugin_sha256
from experiments import datasets
from experiments.config import RunConfig
from experiments.reproduction import BYSTANDERS, Condition, Reproduction
from experiments.tracking import Tracker, environment, run_start
from tests.support.commands import Command, Outcome, invoke
from tests.support.stores import Swept
from tests.support.sweeps import NO_FIGURES
from tests.support.warm import Program

PLUGIN = """
import keras

from architectures import register
from experiments.training import register_loss, register_optimizer


@register_optimizer(learning_rate_factor=3)
def steady(learning_rate, *, momentum=0.5):
    return keras.optimizers.SGD(learning_rate, momentum, nesterov=True)


@register_loss()
def lenient(num_classes, *, label_smoothing):
    return keras.losses.CategoricalFocalCrossentropy(gamma=1, label_smoothing=label_smoothing)


@register(default_filters=4)
def tiny(input_shape, num_classes, *, filters, dropout):
    '''One strided convolution.'''
    image = keras.Input(input_shape)
    found = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(image)
    found = keras.layers.Dropout(dropout)(keras.layers.Flatten()(found))
    return keras.Model(image, keras.layers.Dense(num_classes, activation="softmax")(found))
"""
PLAIN = {"architecture": "tiny", "filters": 8, "dropout": 0.2, "batch_size": 32, "label_smoothing": 0.1}


def write_data(path: Path, *, seed: int = 0) -> None:
    chosen = np.random.default_rng(seed)
    labels = np.arange(300) % 3
    images = chosen.integers(0, 90, (300, 10, 10), np.uint8) + (labels * 80).astype(np.uint8)[:, None, None]
    np.savez(path, x_train=images[:200], y_train=labels[:200], x_test=images[200:], y_test=labels[200:])


@dataclass(frozen=True)
class Parallel:
    """A folder with a sweep of two workers: its store, its data and its plugin."""

    folder: Path
    result: dict

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def run_where(self, terms: str) -> str:
        """Id of the first run that meets terms of MLflow's search language."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        return self.client.search_runs(experiments, terms)[0].info.run_id

    def reproduce(self, run_id: str, *arguments: object) -> Outcome:
        return invoke("experiments.reproduce", run_id, "--json", *arguments, cwd=self.folder)


@pytest.fixture(scope="module")
def parallel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parallel:
    """Six trials in a space of two configurations, so that most are answered, and a replicate of the best."""
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "tiny.py").write_text(PLUGIN)
    write_data(folder / "data.npz")
    (folder / "first.json").write_text(json.dumps([PLAIN | {"augment": "off"}, PLAIN | {"augment": "photo"}]))
    space = [
        "--filters",
        "8",
        "--batch-size",
        "32",
        "--dropout",
        "0.2",
        "--label-smoothing",
        "0.1",
        "--augment",
        "search",
    ]
    space += ["--optimizer", "steady", "--loss", "lenient"]
    trials = ["--trials", "6", "--epochs", "3", "--workers", "2", "--pruner", "none", "--enqueue", "first.json"]
    plugin = ["--plugin", "tiny.py", "--architecture", "tiny", "--dataset", "npz:data.npz", "--replicates", "1"]
    options = [*space, *trials, *plugin, "--precision", request.param, "--keep", "1", "--study", "two"]
    done = invoke("search.sweep", *options, *NO_FIGURES, "--json", cwd=folder)
    assert done.code == 0, done.err
    return Parallel(folder, done.json)


@pytest.fixture
def own(parallel: Parallel, tmp_path: Path) -> Parallel:
    """A copy whose store a test may change; data and plugin are where they were."""
    shutil.copy(parallel.folder / "mlflow.db", tmp_path / "mlflow.db")
    return replace(parallel, folder=tmp_path)


once = pytest.mark.parametrize("parallel", ["float32"], indirect=True)


@pytest.mark.parametrize("parallel", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize(
    "terms",
    ["tags.trial_number = '1'", "tags.duplicate_of != ''", "tags.replicate_of != ''"],
    ids=["augmented", "answered", "replicate"],
)
def test_runs_of_a_parallel_sweep_are_identical(parallel: Parallel, terms: str) -> None:
    run_id = parallel.run_where(terms)
    found = parallel.reproduce(run_id)
    assert found.code == 0, found.err + found.out
    assert found.json["verdict"] == "identical"
    assert (found.json["epochs"], found.json["weights_compared"]) == (3, True)
    assert found.json["differences"] == found.json["conditions"] == []
    tags = parallel.client.get_run(run_id).data.tags
    assert found.json["answered_by"] == tags.get("duplicate_of")
    assert found.json["threads"] == int(tags["threads"])
    assert found.err.count("val_accuracy") == 3
    recorded = parallel.client.get_run(run_id).data.params
    assert (recorded["optimizer"], recorded["momentum"], recorded["learning_rate"]) == ("steady", "0.5", "0.009")
    assert (recorded["loss"], recorded["label_smoothing"], "weight_decay" in recorded) == ("lenient", "0.1", False)


@pytest.mark.slow
def test_on_fewer_cores_than_threads(swept: Swept) -> None:
    """The threads of the record are made, whatever the machine has."""
    run_id = swept.result["leaderboard"][0]["run_id"]
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); from experiments.reproduce import main; main()"
    program = Program("tests.support.code", code, run_id, cwd=swept.folder)
    out, err = program.communicate()
    assert out.startswith("identical: "), err + out


@once
def test_a_pruned_run_is_compared_as_far_as_it_came(own: Parallel) -> None:
    tracker = Tracker(f"sqlite:///{own.folder / 'mlflow.db'}")
    trained = own.run_where("tags.trial_number = '0'")
    record, epochs = tracker.runs.get(trained), tracker.runs.epochs(trained)
    dataset = datasets.load(record.config.dataset)
    experiment_id = own.client.get_run(trained).info.experiment_id
    where = environment(int(record.tags["threads"]), plugins=tuple(json.loads(record.tags["plugins"])))
    start = run_start(experiment_id, "pruned", record.config, dataset=dataset, environment=where)
    pruned = tracker.writer.start_run(start)
    for metrics in epochs[:2]:
        tracker.writer.log_epoch(pruned, metrics)
    tracker.writer.end(pruned, "KILLED", outcome="pruned")
    found = own.reproduce(pruned)
    assert found.code == 0, found.err + found.out
    assert (found.json["verdict"], found.json["epochs"], found.json["weights_compared"]) == ("identical", 2, False)
    assert found.err.count("val_accuracy") == 2


@once
def test_figures_that_differ_are_shown_with_the_likely_cause(own: Parallel) -> None:
    run_id = own.run_where("tags.trial_number = '0'")
    own.client.log_metric(run_id, "val_loss", 0.125, step=2)
    own.client.set_tag(run_id, "version.keras", "3.0.0")
    own.client.set_tag(run_id, "version.mlflow", "3.0.0")
    found = own.reproduce(run_id)
    assert found.code == 1
    assert found.json["verdict"] == "differs"
    (difference,) = found.json["differences"]
    assert (difference["what"], difference["epoch"], difference["recorded"]) == ("val_loss", 2, 0.125)
    assert [condition["what"] for condition in found.json["conditions"]] == ["package keras", "package mlflow"]
    assert found.json["likely_cause"] == "other package keras"

    table = invoke("experiments.reproduce", run_id, cwd=own.folder)
    assert table.code == 1
    assert table.out.startswith("differs: ")
    for text in ("val_loss", "0.125", repr(difference["found"]), "package keras", "3.0.0", "Likely cause: other"):
        assert text in table.out


@once
def test_other_data_are_not_trained_on(parallel: Parallel, own: Parallel) -> None:
    run_id = own.run_where("tags.trial_number = '0'")
    data, kept = parallel.folder / "data.npz", (parallel.folder / "data.npz").read_bytes()
    try:
        write_data(data, seed=1)
        found = own.reproduce(run_id)
        assert found.code == 1
        assert (found.json["verdict"], found.json["trained"], found.json["epochs"]) == ("differs", False, 0)
        assert found.json["likely_cause"] == "other data"
        condition = found.json["conditions"][0]
        assert condition["recorded"] == own.client.get_run(run_id).data.tags["dataset_digest"] != condition["here"]
        assert "epoch 1" not in found.err
        data.unlink()
        gone = own.reproduce(run_id)
        assert (gone.code, gone.out) == (3, "")
        assert "data.npz" in gone.err.splitlines()[-1]
    finally:
        data.write_bytes(kept)


@pytest.mark.slow
@once
def test_plugins_that_moved_or_changed(parallel: Parallel, own: Parallel, tmp_path: Path) -> None:
    run_id = own.run_where("tags.trial_number = '0'")
    recorded = json.loads(own.client.get_run(run_id).data.tags["plugins"])
    assert recorded == {str(parallel.folder / "tiny.py"): plugin_sha256(str(parallel.folder / "tiny.py"))}
    moved = tmp_path / "elsewhere.py"
    (parallel.folder / "tiny.py").rename(moved)
    try:
        gone = own.reproduce(run_id)
        assert (gone.code, gone.out) == (3, "")
        assert "tiny.py" in gone.err.splitlines()[-1]
        assert "--plugin" in gone.err.splitlines()[-1]
        assert own.reproduce(run_id, "--plugin", moved).json["conditions"] == []
        moved.write_text(PLUGIN.replace('"relu"', '"tanh"'))
        changed = own.reproduce(run_id, "--plugin", moved)
        assert changed.code == 1
        assert {one["what"] for one in changed.json["differences"]} >= {"loss", "val_loss", "weights_sha256"}
        assert changed.json["likely_cause"].startswith("other plugin ")
        moved.write_text(PLUGIN.replace("gamma=1", "gamma=2"))
        changed = own.reproduce(run_id, "--plugin", moved)
        assert {"loss"} <= {one["what"] for one in changed.json["differences"]}
        assert changed.json["likely_cause"].startswith("other plugin ")
    finally:
        (parallel.folder / "tiny.py").write_text(PLUGIN)


@once
@pytest.mark.parametrize("error", ["EOFError", "ConnectionResetError"])
def test_why_data_cannot_be_loaded(error: str, parallel: Parallel, own: Parallel, tmp_path: Path) -> None:
    """Even if it looks like a pipe that closed."""
    plugin = tmp_path / "truncated.py"
    plugin.write_text(
        "from experiments.datasets import register_dataset\n"
        "@register_dataset('truncated')\n"
        "def truncated():\n"
        f"    raise {error}('Compressed file ended')\n"
    )
    tracker = Tracker(f"sqlite:///{own.folder / 'mlflow.db'}")
    trained = own.run_where("tags.trial_number = '0'")
    dataset = datasets.load(tracker.runs.get(trained).config.dataset)
    config = RunConfig("malireddi", "truncated", filters=4, dropout=0.2, batch_size=32, epochs=1)
    experiment_id = own.client.get_run(trained).info.experiment_id
    run_id = tracker.writer.start_run(
        run_start(experiment_id, "truncated", config, dataset=dataset, environment=environment(1))
    )
    tracker.writer.log_epoch(run_id, tracker.runs.epochs(trained)[0])
    tracker.writer.end(run_id, "KILLED", outcome="pruned")
    found = own.reproduce(run_id, "--plugin", plugin)
    assert (found.code, found.out) == (3, "")
    assert f"cannot be trained here: {error}: Compressed file ended" in found.err.splitlines()[-1]


def test_what_has_nothing_to_compare(own_store: Path, command: Command) -> None:
    client = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "mnist5k"]

    def one(terms: str) -> str:
        return client.search_runs([experiment.experiment_id], terms)[0].info.run_id

    def refused(run_id: str, code: int, text: str) -> None:
        found = command("experiments.reproduce", run_id, cwd=own_store)
        assert found.code == code
        assert text in found.error

    refused(one("tags.sweep = 'parent'"), 3, "parent run")
    refused("nope", 2, "Unknown run 'nope'")
    refused(client.create_run(experiment.experiment_id, run_name="by hand").info.run_id, 3, "not a training run")
    run_id = one("tags.trial_number = '0'")
    for status, tags, text in (
        ("FAILED", {}, "traceback.txt"),
        ("RUNNING", {}, "still running"),
        ("KILLED", {"outcome": "infeasible"}, "too large"),
    ):
        client.update_run(run_id, status=status)
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        refused(run_id, 3, text)
    empty = client.create_run(experiment.experiment_id, tags={"dataset_digest": "0", "threads": "1"}).info.run_id
    client.log_param(empty, "architecture", "pocket")
    client.set_terminated(empty, "KILLED")
    refused(empty, 3, "before its first epoch")


def test_likely_cause_leaves_out_what_only_keeps_records() -> None:
    made = Reproduction("id", "run", None, True, 1, True, (), (), 1, 1.0)
    assert made.likely_cause is None
    differs = replace(made, trained=False)
    bystander = Condition(f"package {BYSTANDERS[0].removeprefix('version.')}", "1", "2")
    assert "none that is recorded" in str(replace(differs, conditions=(bystander,)).likely_cause)
    processor = Condition("processor", "a", "b")
    assert replace(differs, conditions=(processor, bystander)).likely_cause == "other processor"


@pytest.mark.slow
@once
def test_another_commit_of_the_same_code_is_shown_and_never_the_cause(own: Parallel) -> None:
    run_id = own.run_where("tags.trial_number = '0'")
    own.client.set_tag(run_id, "mlflow.source.git.commit", "0" * 40)
    found = own.reproduce(run_id)
    assert (found.code, found.json["verdict"]) == (0, "identical")
    (condition,) = found.json["conditions"]
    assert (condition["what"], condition["recorded"]) == ("commit", "0" * 12)
    own.client.log_metric(run_id, "val_loss", 0.125, step=2)
    found = own.reproduce(run_id)
    assert found.code == 1
    assert found.json["likely_cause"].startswith("none that is recorded")
    own.client.set_tag(run_id, "source_sha256", "0" * 64)
    found = own.reproduce(run_id)
    assert [one["what"] for one in found.json["conditions"]] == ["code"]
    assert found.json["likely_cause"] == "other code"


def test_digest_of_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_plugin"
    package.mkdir()
    for name in ("__init__.py", "nets.py"):
        (package / name).write_text("raise SystemExit('imported')")
    (tmp_path / "single_plugin.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = plugin_sha256("some_plugin.nets")
    assert before
    assert plugin_sha256("single_plugin") == plugin_sha256(str(tmp_path / "single_plugin.py")) != before
    (package / "nets.py").write_text("changed = True")
    assert plugin_sha256("some_plugin.nets") != before
    assert plugin_sha256("no_such_plugin") == plugin_sha256(str(tmp_path / "none.py")) == ""
