"""Installed plugin packages: the example of this repository, and ones that are broken; and what `new` writes."""

from __future__ import annotations

import importlib
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import architectures
from architectures import registry
from architectures.contract import check_architecture
from architectures.errors import PluginError, UsageError
from experiments import datasets
from tests.support.commands import Command, Outcome, run_module

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "stripes"


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry.names()
    datasets.names()
    for module in (registry, datasets.registry):
        monkeypatch.setattr(module._registry, "entries", dict(module._registry.entries))
        monkeypatch.setattr(module._registry, "broken", {})


def read_again(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let both registries read entry points again, those installed in a folder included."""
    monkeypatch.syspath_prepend(path)
    importlib.invalidate_caches()
    monkeypatch.setattr(registry._registry, "loaded", False)
    monkeypatch.setattr(datasets.registry._registry, "loaded", False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip has installed the example package into, without a network."""
    source = tmp_path_factory.mktemp("source") / "stripes"
    shutil.copytree(EXAMPLE, source)  # a build leaves files beside the sources
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package, most of whose plugins fail on import."""
    folder = tmp_path_factory.mktemp("broken")
    meta = folder / "half_broken-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: half-broken\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(
        "[architectures]\nbad_net = bad_net\nnot_there = no_such_module\ngood_net = good_net\n"
        "[datasets]\nbad_data = bad_net\n"
    )
    (folder / "bad_net.py").write_text("print('loud')\nraise RuntimeError('lost\\nits way')\n")
    (folder / "good_net.py").write_text(
        "import keras\nfrom architectures import register\n@register(default_filters=4)\n"
        "def good_net(input_shape, num_classes, *, filters, dropout):\n"
        "    parts = [keras.layers.Flatten(), keras.layers.Dense(num_classes, activation='softmax')]\n"
        "    return keras.Sequential([keras.Input(input_shape), *parts])\n"
    )
    return folder


@pytest.mark.slow
def test_the_example_package_is_swept_whatever_else_is_installed(installed: Path, broken: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> Outcome:
        return run_module(*arguments, "--json", cwd=tmp_path, PYTHONPATH=f"{installed}:{broken}:{ROOT}")

    sweep = ["search.sweep", "--dataset", "stripes", "--epochs", "6", "--filters", "8", "--batch-size", "16"]
    swept = run(*sweep, "--architecture", "crossing", "--trials", "2")
    assert swept.code == 0, swept.err
    assert "warning: left out: Plugin not_there (no_such_module) failed on import" in swept.err
    assert swept.json["counts"]["complete"] == 2
    best = swept.json["leaderboard"][0]
    assert (best["architecture"], best["filters"]) == ("crossing", 8)
    assert best["val_accuracy"] > 0.9
    promoted = run("conversion.promote", "--model", "stripes-classifier")
    assert promoted.code == 0, promoted.err
    assert promoted.json["dataset"] == "stripes"
    asked = run(*sweep, "--architecture", "bad_net", "--trials", "1")
    assert asked.code == 1
    assert "error: Plugin bad_net (bad_net) failed on import: RuntimeError: lost its way" in asked.err


def test_the_example_package_keeps_the_contract(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_again(monkeypatch, installed)
    assert "crossing" in architectures.names()
    assert "stripes" in datasets.names()
    check_architecture("crossing", input_shape=(12, 12, 1))


def test_a_broken_installed_plugin_is_left_out_with_a_warning(
    broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_again(monkeypatch, broken)
    assert {"good_net", "malireddi"} <= set(architectures.names())
    out, err = capsys.readouterr()
    assert out == ""
    warnings = sorted(line for line in err.splitlines() if line.startswith("warning: "))
    assert warnings == [
        "warning: left out: Plugin bad_net (bad_net) failed on import: RuntimeError: lost its way",
        "warning: left out: Plugin not_there (no_such_module) failed on import: ModuleNotFoundError: "
        "No module named 'no_such_module'",
    ]
    with pytest.raises(PluginError, match=r"bad_net.*lost"):
        architectures.get("bad_net")
    with pytest.raises(UsageError, match="Unknown architecture 'nope'"):
        architectures.get("nope")
    assert "mnist5k" in datasets.names()
    with pytest.raises(PluginError, match=r"bad_data.*lost"):
        datasets.load("bad_data")


def test_new_writes_files_that_pass_their_own_test(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without pytest, which the environment of `make sweep` lacks."""
    made = command("architectures", "new", "tiny_net")
    assert made.code == 0
    assert "python test_tiny_net.py\n" in made.out
    assert "--plugin tiny_net.py --architecture tiny_net" in made.out
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pytest", None)
        found = runpy.run_path(str(tmp_path / "test_tiny_net.py"), run_name="__main__")
    assert "test_tiny_net_keeps_the_contract" in found  # as pytest finds it
    assert "tiny_net keeps the contract" in capsys.readouterr().out


def test_new_overwrites_nothing(tmp_path: Path, command: Command) -> None:
    (tmp_path / "test_mine.py").write_text("precious")
    assert "test_mine.py exists" in command("architectures", "new", "mine").error
    assert [file.name for file in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "is not a name") for name in ("Mine", "2d", "a-b", "../up", "class", "new", "", "a" * 65, "naïve")),
        *((name, "an installed module") for name in ("malireddi", "registry", "numpy", "json", "architectures")),
    ],
)
def test_new_refuses_bad_names(name: str, message: str, tmp_path: Path, command: Command) -> None:
    found = command("architectures", "new", name)
    assert found.code == 2
    assert message in found.error
    assert not list(tmp_path.iterdir())


def test_new_needs_a_name(command: Command) -> None:
    assert "new NAME" in command("architectures", "new").error
    assert "One architecture at a time" in command("architectures", "pocket", "resnet").error


def test_every_plugin_group_is_declared() -> None:
    assert {point.name for point in entry_points(group="architecture_checks")} == {"conversion"}
    assert {point.name for point in entry_points(group="architecture_figures")} == {"macs", "coreml_bytes"}
