"""A sweep from a file: as if its options had been typed, behind those of the command line; and written whole."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search import sweep
from search.config import SweepConfig, given_options
from search.config_file import as_toml
from tests.support.commands import ROOT, Command
from tests.support.stores import Swept

EVERY = """
study = "night"
architecture = ["pocket", "efficientnet_lite0"]
batch_size = 64
dropout = [0.1, 0.4]
filters = [8, 16]
knob = ["train=head,top", "weights=none"]
learning-rate = 0.001
label-smoothing = [0.0, 0.2]
class-weight = ["none", "balanced"]
objective = "val_accuracy, coreml_bytes"
augment = false
figures = true
timeout = 600
enqueue = [{ architecture = "pocket", filters = 8, dropout = 0.2 }]
"""
TYPED = shlex.split("""
--study night --architecture pocket,efficientnet_lite0 --batch-size 64 --dropout 0.1:0.4 --filters 8,16
--knob train=head,top --knob weights=none --learning-rate 0.001 --label-smoothing 0:0.2 --class-weight none,balanced
--objective val_accuracy,coreml_bytes --augment off --figures on --timeout 600
""")


def dumped(command: Command, *arguments: object) -> str:
    found = command("search.sweep", *arguments, "--dump-config")
    assert found.code == 0, found.err
    return found.out


def test_a_file_is_as_good_as_the_command_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(EVERY)
    queue = json.dumps([{"architecture": "pocket", "filters": 8, "dropout": 0.2}])
    from_file = dumped(command, "--config", "night.toml")
    assert from_file == dumped(command, *TYPED, "--enqueue", queue)
    (tmp_path / "again.toml").write_text(from_file)
    assert dumped(command, "--config", "again.toml") == from_file
    assert not (tmp_path / "optuna.db").exists()


def test_the_command_line_wins(command: Command, tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(EVERY)
    shown = dumped(command, "--filters", "4", "--knob", "train=all", "--config", "night.toml").splitlines()
    assert {"filters = [4]", 'knob = ["train=all"]', "dropout = [0.1, 0.4]"} <= {*shown}


@pytest.mark.parametrize(
    "config",
    [
        SweepConfig("sqlite:///a b.db", "ä", seed=7, filters=(4,), precision="float32"),
        SweepConfig("http://h:1", "s", objectives=("val_loss", "coreml_bytes"), momentum=(0.8, 0.9), optimizer="sgd"),
        SweepConfig("http://h:1", "s", workers="auto"),
    ],
)
def test_what_is_written_asks_for_the_same_and_no_more(config: SweepConfig, tmp_path: Path) -> None:
    """A default that was asked for is not adapted to the data: it is not written as asked for."""
    file = tmp_path / "written.toml"
    file.write_text(as_toml(config), encoding="utf-8")
    assert "# batch-size = [64, 128, 256]\n" in file.read_text()
    arguments = sweep.parser().parse_args(["--config", str(file)])
    found = given_options(vars(arguments) | {"figures": arguments.figures})
    values = {key: getattr(config, key) for key in config.asked}
    expected = {key: value for key, value in values.items() if value != getattr(SweepConfig, key, None)}
    assert {key: found[key] for key in found.pop("given")} == found == {"tracking_uri": config.tracking_uri} | expected


def test_secrets_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SweepConfig("postgresql+psycopg://ann:0pen%2Bs3same@host/db", "night", architectures=("pocket",))
    monkeypatch.setenv("PGPASSWORD", "pocket")
    text = as_toml(config)
    assert "s3same" not in text
    assert text.startswith("# tracking-uri = ")  # read, it would be the wrong one
    assert 'architecture = ["pocket"]\n' in text  # a name, whatever somebody's password is


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "'epoch' is not an option a config file can set"),
        ('config = "other.toml"', "'config' is not an option a config file can set"),
        ("json = true", "'json' is not an option a config file can set"),
        ("epochs = 0", "argument --epochs: 0 is too small: at least 1"),
        ("epochs = 2026-11-29", "epochs is datetime.date(2026, 11, 29): a text, a number, true or false, or a list"),
        ("[epochs]\nmost = 3", "epochs is {'most': 3}: a text, a number, true or false, or a list"),
        ('knob = "train"', "argument --knob: 'train' is not NAME=VALUE"),
        ("epochs = ", "it is not TOML: Invalid value (at "),
        ("enqueue = [{ architecture = 2026-11-29 }]\nepochs = 0", "argument --epochs: 0 is too small"),
        ("epochs = " + "[" * 9_000, "it is not TOML: "),
        ("epochs = 1\nepochs = 2", "it is not TOML: Cannot overwrite a value"),
    ],
)
def test_bad_files_are_one_line(text: str, message: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    found = command("search.sweep", "--config", "bad.toml")
    assert found.code == 2
    assert found.error.startswith(f"error: bad.toml: {message}")


def test_toml_is_no_json(command: Command) -> None:
    found = command("search.sweep", "--dump-config", "--json")
    assert (found.code, found.error) == (2, "error: --dump-config prints TOML: leave --json out.")


def test_a_file_that_is_not_there(command: Command) -> None:
    found = command("search.sweep", "--config", "nowhere.toml")
    assert (found.code, found.error.partition(" (see")[0]) == (2, "error: nowhere.toml: No such file or directory")


def test_the_parent_run_holds_all_options(swept: Swept) -> None:
    client = MlflowClient(swept.uri)
    held = Path(client.download_artifacts(swept.result["parent_run_id"], "sweep.toml")).read_text()
    assert 'study = "small"\n' in held
    assert "filters = [4, 8]\n" in held
    assert '\naugment = "digits"\n' in held  # what `on` stood for
    assert "# timeout" not in held  # what has no value is left out


@pytest.mark.parametrize("path", sorted((ROOT / "examples/sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    data = ("--dataset", "folder:photos") if path.stem == "photographs" else ()
    assert "trials = " in dumped(command, "--config", path, *data)
