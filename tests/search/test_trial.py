"""One tracked run from the command line: its record, its failures, its interruption."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.commands import Command
from tests.support.servers import wait_until
from tests.support.sweeps import DIGITS, has_metrics
from tests.support.warm import Program


def only_run(folder: Path, experiment: str = "mnist5k"):
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


@pytest.mark.slow
def test_a_trial_is_kept_registered_and_promoted(tmp_path: Path, command: Command) -> None:
    found = command(
        *("search.trial", "--architecture", "malireddi", "--filters", "4", "--batch-size", "200", "--epochs", "2"),
        *("--experiment", "mine", "--register-as", "mine-too", "--learning-rate", "0.002", "--seed", "7", "--json"),
        *("--label-smoothing", "0.1", "--augment", "on", "--compress", "float16"),
        *("--class-weight", "balanced", "--objective", "val_loss"),
    )
    assert found.code == 0, found.err
    result = found.json
    client, run = only_run(tmp_path, "mine")
    assert result["run_id"] == run.info.run_id
    assert (run.info.run_name, run.info.status) == ("malireddi", "FINISHED")
    assert {key: str(result[key]) for key in run.data.params} == run.data.params
    assert (run.data.params["batch_size"], run.data.params["seed"]) == ("200", "7")
    assert result["best_val_accuracy"] == run.data.metrics["best_val_accuracy"]
    assert len(result["history"]) == 2
    assert result.keys() == run.data.params.keys() | {
        *("run_id", "registered_model", "version", "history", "parameters", "macs", "coreml_bytes", "keras_bytes"),
        *("best_epoch", "best_val_accuracy", "best_val_balanced_accuracy", "best_val_loss", "drawn_accuracy"),
        *("keras_sha256", "weights_sha256", "latency_ms", "host_load", "images_per_second", "not_measured"),
        *("mistakes", "suspects"),
    }
    assert "study" not in run.data.tags
    assert (run.data.params["augment"], run.data.params["compress"]) == ("digits", "float16")
    assert (run.data.params["class_weight"], run.data.params["objective"]) == ("balanced", "val_loss")
    promoted = command("conversion.promote", "--run", run.info.run_id, "--compress", "float16", "--json")
    assert promoted.code == 0, promoted.err
    assert promoted.json["registered_model"] == "mine-too"  # the run's own, not the default
    assert promoted.json["coreml_bytes"] == result["coreml_bytes"]
    assert client.get_model_version_by_alias("mine-too", "champion").run_id == run.info.run_id


def test_a_run_that_diverges_is_failed(tmp_path: Path, command: Command) -> None:
    (tmp_path / "infinite.py").write_text(
        "import keras\n"
        "from architectures import register\n"
        "@register(default_filters=4)\n"
        "def infinite(input_shape, num_classes, *, filters, dropout):\n"
        "    layers = [keras.Input(input_shape), keras.layers.Rescaling(float('inf')), keras.layers.Flatten()]\n"
        "    return keras.Sequential([*layers, keras.layers.Dense(num_classes, activation='softmax')])\n"
    )
    found = command("search.trial", "--architecture", "infinite", "--plugin", "infinite.py")
    assert found.code == 1
    assert "is not finite after epoch 1" in found.err
    client, run = only_run(tmp_path)
    assert run.info.status == "FAILED"
    assert "TrainingDiverged" in Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()


@pytest.mark.parametrize("error", ["EOFError", "ConnectionResetError"])
def test_what_a_plugin_raises_is_told_even_if_it_looks_like_a_pipe_that_closed(
    error: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "broken.py").write_text(
        "import keras\n"
        "from architectures import register\n"
        "class Broken(keras.layers.Dense):\n"
        "    def save_own_variables(self, store):\n"
        f"        raise {error}('the mirror hung up')\n"
        "@register(default_filters=4)\n"
        "def broken(input_shape, num_classes, *, filters, dropout):\n"
        "    layers = [keras.Input(input_shape), keras.layers.Flatten(), Broken(num_classes, activation='softmax')]\n"
        "    return keras.Sequential(layers)\n"
    )
    found = command("search.trial", "--architecture", "broken", "--plugin", "broken.py", "--epochs", "1", *DIGITS)
    assert found.code == 1
    assert "the mirror hung up" in found.error
    client, run = only_run(tmp_path)
    assert error in Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()


@pytest.mark.slow
def test_ctrl_c_ends_the_run_as_killed(tmp_path: Path) -> None:
    options = ["--architecture", "malireddi", "--filters", "4", "--epochs", "99", *DIGITS]
    process = Program("search.trial", *options, cwd=tmp_path)
    wait_until(lambda: has_metrics(tmp_path), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    _, run = only_run(tmp_path)
    assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "interrupted")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "required: --architecture"),
        (["--architecture", "nope"], 2, "Unknown architecture 'nope'. Registered: allconv, chollet, "),
        (["--architecture", "malireddi", "--dataset", "nope"], 2, "Unknown data set 'nope'"),
        (["--architecture", "malireddi", "--dropout", "1"], 2, "below 1"),
        (["--architecture", "malireddi", "--batch-size", "0"], 2, "at least 1"),
        (["--architecture", "malireddi", "--batch-size", "4001"], 2, "of mnist5k: use a smaller one with --batch-size"),
        (["--architecture", "malireddi", "--knob", "depth=3"], 2, "a knob 'depth'. Their knobs: none."),
        (["--architecture", "malireddi", "--knob", "depth"], 2, "'depth' is not NAME=VALUE"),
        (["--architecture", "malireddi", "--epochs", "0"], 2, "at least 1"),
        (["--architecture", "malireddi", "--compress", "prune50"], 2, "prune50"),
        (["--architecture", "malireddi", "--augment", "search"], 2, "invalid choice: 'search'"),
        (["--architecture", "malireddi", "--tracking-uri", "http://127.0.0.1:9"], 1, "cannot be reached"),
    ],
)
def test_wrong_usage(arguments: list[str], code: int, message: str, command: Command) -> None:
    found = command("search.trial", *arguments)
    assert found.code == code
    assert message in found.error
