"""A person's own keras.json and variables neither change a network in silence nor end in a message that misleads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow

from architectures import quiet, registry
from architectures.errors import ProjectError
from experiments import reproduction
from experiments.config import RunConfig
from experiments.tracking import RunRecord, code_tags, environment
from experiments.training.messages import Request

OTHERWISE = {"floatx": "float64", "epsilon": 1e-3, "backend": "jax", "image_data_format": "channels_first"}
AS_EVER = ("float32", 1e-7, "channels_last")

LOOK = """
import json
from architectures import registry
from conversion.coreml.convert import coremltools
network = registry.build("malireddi", (28, 28, 1), 10)
import keras, tensorflow
from experiments.tracking.source import environment
print(json.dumps([
    network.count_params(), network.dtype, keras.config.backend(), keras.config.floatx(), keras.config.epsilon(),
    keras.config.image_data_format(), tensorflow.keras.Model is keras.Model, environment(1).settings,
]))
"""


def run(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "KERAS_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def in_force() -> tuple[str, float, str]:
    return keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()


@pytest.mark.slow
def test_what_is_relied_on_is_set(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(json.dumps(OTHERWISE))
    done = run("-c", LOOK, home=tmp_path, KERAS_BACKEND="torch", TF_USE_LEGACY_KERAS="1", KERAS_NNX_ENABLED="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [94_602, "float32", "tensorflow", *AS_EVER, True, []]


@pytest.mark.parametrize(
    ("settings", "variables", "named"),
    [
        ('{"floatx": "bfloat16"}', {}, "keras.json"),
        ('{"epsilon": 1}', {}, "keras.json"),
        ("[]", {}, "keras.json"),
        ("{}", {"KERAS_MAX_EPOCHS": "many"}, "KERAS_MAX_EPOCHS=many"),
    ],
)
def test_an_import_that_fails_names_what_it_read(
    settings: str, variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    (tmp_path / "keras.json").write_text(settings)
    done = run("-m", "architectures", home=tmp_path, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Keras failed on import: ")
    assert named in line
    assert f"KERAS_HOME={tmp_path}" in line


def test_a_variable_that_was_read_before_is_named_where_it_makes_the_import_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after an `import tensorflow`, which goes on without the Keras that it could not import."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(sys, "meta_path", [NoKeras(), *sys.meta_path])
    with pytest.raises(ProjectError, match=r"No module named 'jax'\. On import it reads .*KERAS_BACKEND=jax:"):
        quiet.import_tensorflow()


class NoKeras:
    def find_spec(self, name: str, *_: object) -> None:
        if name == "keras":
            raise ModuleNotFoundError("No module named 'jax'")


def test_a_keras_that_tensorflow_misses_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def __getattr__(self, name: str) -> None:
            raise ImportError("Keras cannot be imported. Check that it is installed.")  # what TensorFlow says

    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setattr(tensorflow, "keras", Missing())
    with pytest.raises(ProjectError, match=r"installed\. On import it reads .*TF_USE_LEGACY_KERAS=1:"):
        quiet.import_tensorflow()


def test_another_backend_that_was_imported_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ProjectError, match="backend jax before this project.*KERAS_BACKEND=tensorflow"):
        quiet.import_tensorflow()


def test_what_a_plugin_sets_for_all_lasts_no_longer_than_its_import(tmp_path: Path) -> None:
    plugin = tmp_path / "first.py"
    plugin.write_text(
        "import keras\nkeras.config.set_image_data_format('channels_first')\nkeras.config.set_epsilon(.1)\n"
        "keras.config.set_dtype_policy('mixed_float16')"
    )
    registry.load_plugin(str(plugin))
    assert in_force() == AS_EVER
    assert keras.config.dtype_policy().name == "float32"


def test_a_plugin_that_fails_leaves_nothing_set_either(tmp_path: Path) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text("import keras\nkeras.config.set_dtype_policy('mixed_float16')\n1 / 0")
    with pytest.raises(ProjectError, match="ZeroDivisionError"):
        registry.load_plugin(str(plugin))
    assert keras.config.dtype_policy().name == "float32"


def test_what_a_person_sets_changes_no_network() -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        assert registry.build("malireddi", (28, 28, 1), 10).count_params() == 94_602
    finally:
        quiet.set_keras()


def test_a_variable_that_was_read_before_is_recorded_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # TensorFlow is imported already
    quiet.set_defaults()
    assert environment(1).settings == (("TF_USE_LEGACY_KERAS", "1"),)

    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    tags = {**code_tags(), "processor": environment(1).processor}
    record = RunRecord("a" * 32, "pocket-1", "FINISHED", {}, {}, tags)
    config = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1)
    request = Request(config, "", 1, (), (("TF_USE_LEGACY_KERAS", "1"),), None)
    found = [(one.what, one.recorded, one.here) for one in reproduction._conditions(record, request, None)]
    assert found == [("setting ONEDNN_DEFAULT_FPMATH_MODE", "none", "BF16"), ("setting TF_USE_LEGACY_KERAS", "1", "0")]
