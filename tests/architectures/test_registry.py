"""The registry: discovery, plugins, and what a builder must be."""

from __future__ import annotations

import importlib
from pathlib import Path

import keras
import pytest

import architectures
from architectures import registry
from architectures.errors import PluginError, UsageError

BUILDER = """
import keras
from architectures import register

@register(default_filters=4)
def {name}(input_shape, num_classes, *, filters, dropout):
    return keras.Sequential([
        keras.Input(input_shape),
        {first}
        keras.layers.Flatten(),
        keras.layers.Dense({width}, activation={activation!r}),
    ])
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry.names()
    monkeypatch.setattr(registry._registry, "entries", dict(registry._registry.entries))


def plugin(folder: Path, name: str, *, first: str = "", width: str = "num_classes", activation: str = "softmax") -> str:
    file = folder / f"{name}.py"
    file.write_text(BUILDER.format(name=name, first=first, width=width, activation=activation))
    return str(file)


def test_families_of_the_folder_are_found() -> None:
    assert {"malireddi", "chollet"} <= set(architectures.names())


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(UsageError, match=r"Unknown architecture 'nope'\. Registered: .*chollet.*malireddi"):
        architectures.get("nope")


def test_plugin_file_and_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architectures.load_plugin(plugin(tmp_path, "from_file"))
    assert architectures.build("from_file", (8, 8, 1), 3).output_shape == (None, 3)
    plugin(tmp_path, "from_module")
    monkeypatch.syspath_prepend(tmp_path)
    architectures.load_plugin("from_module")
    assert "from_module" in architectures.names()


def test_a_plugin_file_may_be_named_twice(tmp_path: Path) -> None:
    file = plugin(tmp_path, "twice")
    architectures.load_plugin(file)
    architectures.load_plugin(file)
    assert architectures.names().count("twice") == 1


def test_entry_points_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(tmp_path, "installed_net")
    meta = tmp_path / "installed_net-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-net\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[architectures]\nany = installed_net\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr(registry._registry, "loaded", False)
    assert "installed_net" in architectures.names()


def test_duplicate_names_raise_and_name_both_files(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"'malireddi' of .*malireddi\.py is already registered by .*architectures"):
        architectures.load_plugin(plugin(tmp_path, "malireddi"))


@pytest.mark.parametrize(
    "signature",
    [
        "shape, num_classes, *, filters, dropout",
        "input_shape, num_classes, filters, dropout",
        "input_shape, num_classes",
    ],
)
def test_bad_signature_says_what_to_write(signature: str) -> None:
    space: dict = {}
    exec(f"def odd({signature}): ...", space)
    with pytest.raises(PluginError, match=r"Change it to odd\(input_shape, num_classes, \*, filters, dropout\)"):
        architectures.register(default_filters=4)(space["odd"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": "num_classes + 1"}, r"gives \(None, 4\), not \(None, 3\)"),
        ({"first": "keras.layers.Lambda(lambda x: x),"}, "holds a Lambda layer"),
        ({"activation": "linear"}, "does not end in probabilities"),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    name = f"broken_{abs(hash(message))}"
    architectures.load_plugin(plugin(tmp_path, name, **changes))
    with pytest.raises(PluginError, match=message):
        architectures.build(name, (8, 8, 1), 3)


def test_compiled_models_and_other_things_are_refused() -> None:
    @architectures.register(default_filters=4)
    def compiled(input_shape, num_classes, *, filters, dropout):
        model = keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)])
        model.compile()
        return model

    @architectures.register(default_filters=4)
    def nothing(input_shape, num_classes, *, filters, dropout):
        return None

    with pytest.raises(PluginError, match="returned a compiled model"):
        architectures.build("compiled", (8, 8, 1), 3)
    with pytest.raises(PluginError, match=r"returned NoneType, not a keras\.Model"):
        architectures.build("nothing", (8, 8, 1), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [("raise RuntimeError('boom')", "RuntimeError: boom"), ("import sys; sys.exit(3)", "SystemExit")],
)
def test_a_plugin_that_fails_on_import_is_one_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / f"failing_{len(text)}.py"
    file.write_text(text)
    with pytest.raises(PluginError, match=message):
        architectures.load_plugin(str(file))


@pytest.mark.parametrize("name", ["missing.py", "no.such.module", "..", ""])
def test_a_plugin_that_does_not_exist(name: str) -> None:
    with pytest.raises(UsageError):
        architectures.load_plugin(name)


@pytest.mark.parametrize(("values", "message"), [({"filters": 0}, "filters"), ({"dropout": 1.0}, "dropout")])
def test_values_out_of_bounds(values: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        architectures.build("malireddi", (28, 28, 1), 10, **values)


KNOBS = """
import keras
from architectures import register

@register(default_filters=4, knobs={{"kernel_size": {choices}}})
def knobbed(input_shape, num_classes, *, filters, dropout, {argument}):
    return keras.Sequential([
        keras.Input(input_shape),
        keras.layers.Conv2D(filters, kernel_size),
        keras.layers.Flatten(),
        keras.layers.Dense(num_classes, activation="softmax"),
    ])
"""


def knobbed(folder: Path, *, choices: str = "(3, 5)", argument: str = "kernel_size") -> str:
    file = folder / "knobbed.py"
    file.write_text(KNOBS.format(choices=choices, argument=argument))
    return str(file)


def test_a_knob_reaches_the_builder_and_defaults_to_its_first_choice(tmp_path: Path) -> None:
    architectures.load_plugin(knobbed(tmp_path))
    architecture = architectures.get("knobbed")
    default, wide = (architecture.build((8, 8, 1), 2, knobs=knobs) for knobs in (None, {"kernel_size": 5}))
    assert default.layers[0].kernel_size == (3, 3)
    assert wide.layers[0].kernel_size == (5, 5)
    with pytest.raises(UsageError, match=r"Knob 'kernel_size' of 'knobbed' is one of 3, 5, not 4\."):
        architecture.build((8, 8, 1), 2, knobs={"kernel_size": 4})
    with pytest.raises(UsageError, match=r"has no knob 'depth'\. Its knobs: kernel_size\."):
        architecture.build((8, 8, 1), 2, knobs={"depth": 4})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"argument": "kernel"},
            r"Change it to knobbed\(input_shape, num_classes, \*, filters, dropout, kernel_size\)",
        ),
        (
            {"choices": "(1,), 'seed': (1,)", "argument": "kernel_size, seed"},
            "the name of a parameter that every run has",
        ),
        ({"choices": "()"}, "Give at least one number, boolean or word"),
        ({"choices": "((1, 2),)"}, "Give at least one number, boolean or word"),
        ({"choices": "('3',)"}, "a number in quotes"),
    ],
)
def test_a_knob_that_cannot_be(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=message):
        architectures.load_plugin(knobbed(tmp_path, **changes))
