"""Promotion in both formats, and what --compress asks for."""

from __future__ import annotations

import json
from pathlib import Path

from conversion import runtime
from conversion.promote import DEFAULT_OUTPUT
from tests.support.commands import Command


def test_a_package_replaces_a_file(own_promoted: Path, command: Command) -> None:
    """A file replaces a package in `test_gate.py::test_force_overwrites_a_file_that_is_not_ours`."""
    model = own_promoted / DEFAULT_OUTPUT
    assert [path.name for path in model.parent.iterdir()] == [f"{model.stem}.mlmodel"]
    done = command("conversion.promote", "--format", "mlpackage", "--json", cwd=own_promoted)
    assert done.code == 0, done.err
    assert [path.name for path in model.parent.iterdir()] == [f"{model.stem}.mlpackage"]
    assert Path(done.json["file"]).suffix == ".mlpackage"
    assert runtime.load(own_promoted / done.json["file"]).interface.size_bytes == done.json["coreml_bytes"]


def test_pruning_needs_a_package(own_store: Path, command: Command) -> None:
    done = command("conversion.promote", "--compress", "prune50", cwd=own_store)
    assert done.code == 2
    assert "prune50 needs --format mlpackage, for iOS 16 or later" in done.error


def test_auto_says_what_it_looked_at(own_store: Path, command: Command) -> None:
    arguments = ("--compress", "auto", "--format", "mlmodel", "--max-accuracy-loss", "100", "--dry-run", "--json")
    found = json.loads(command("conversion.promote", *arguments, cwd=own_store).out)
    (chosen,) = (variant for variant in found["compression_search"]["variants"] if variant["chosen"])
    assert chosen["compression"] == "palette2"
    assert chosen["size_bytes"] == found["coreml_bytes"]
    assert not (own_store / "ios").exists()


def test_an_accuracy_loss_is_in_points(own_store: Path, command: Command) -> None:
    done = command("conversion.promote", "--max-accuracy-loss", "101", cwd=own_store)
    assert done.code == 2
    assert "at least 0 and at most 100" in done.error


def test_a_compressed_file_tells_its_own_accuracy(own_store: Path, command: Command) -> None:
    options = ("--format", "mlpackage", "--compress", "prune75", "--max-accuracy-loss", "100", "--json")
    done = command("conversion.promote", *options, cwd=own_store).json
    told = runtime.load(own_store / done["file"]).interface.metadata.user_defined["val_accuracy"]
    assert told == f"{done['val_accuracy']:.4f}"
    assert done["val_accuracy"] != done["model_val_accuracy"]
