"""Hostile configurations in `.keras` files: code, files and memory that Keras would run, read and take."""

from __future__ import annotations

import builtins
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import architectures
from experiments.classifier import as_classifier
from tests.support import families
from tests.support.keras_files import CONFIG, WEIGHTS, load, refusal, right, write
from tests.support.memory import at_most


@pytest.fixture
def members() -> dict[str, bytes]:
    return right()


def changed(members: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> dict[str, bytes]:
    config = json.loads(members[CONFIG])
    change(config)
    return {**members, CONFIG: json.dumps(config).encode()}


def layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of the network inside a classifier."""
    return config["config"]["layers"][-1]["config"]["layers"]


def replace(module: object, name: object, inner: object = None, **more: object) -> Callable[[dict[str, Any]], Any]:
    """Put another class in the place of a dropout layer, deep in the network."""
    config = {"name": "evil"} if inner is None else inner
    node = {"module": module, "class_name": name, "config": config, "registered_name": None, **more}
    return lambda config: layers(config).__setitem__(3, node)


def as_lambda() -> dict[str, Any]:
    return keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x, name="evil"))["config"]


def activation(value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda config: layers(config)[1]["config"].__setitem__("activation", value)


def function(module: object, name: str, registered: object = "function") -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered}


def without_module(config: dict[str, Any]) -> None:
    del layers(config)[3]["module"]


def larger(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """A change without the notes of shapes that would contradict it."""

    def strip(node: Any) -> None:
        if isinstance(node, dict):
            for note in ("build_config", "build_input_shape"):
                node.pop(note, None)
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            strip(child)

    return lambda config: (change(config), strip(config))


def enlarge(config: dict[str, Any]) -> None:
    """A layer that makes an image of gigabytes, and one that shrinks it again."""
    for name, field, size in (("MaxPooling2D", "pool_size", 2**13), ("UpSampling2D", "size", 2**13)):
        inner = {"name": "evil" if name == "UpSampling2D" else "good", field: [size, size]}
        node = {"module": "keras.layers", "class_name": name, "config": inner, "registered_name": None}
        layers(config).insert(3, node)


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "lambda_layer": (replace("keras.layers", "Lambda"), r"'Lambda' \(named 'evil'\).*runs code"),
    "lambda_elsewhere": (replace("keras.src.layers.core.lambda_layer", "Lambda"), "'Lambda'.*runs code"),
    "lambda_value": (activation({"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}), "'__lambda__'.*runs"),
    "lambda_old_form": (
        lambda c: layers(c).__setitem__(3, {"class_name": "Lambda", "config": as_lambda()}), "'Lambda'.*runs code"),
    "torch": (replace("keras.layers", "TorchModuleWrapper"), "'TorchModuleWrapper'.*runs code"),
    "saved_model": (replace("keras.layers", "TFSMLayer", {"filepath": "/tmp"}), "'TFSMLayer'.*runs code"),
    "vocabulary": (
        replace("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}), "'StringLookup'.*files"),
    "text": (replace("keras.layers", "TextVectorization", {"vocabulary": "/etc/passwd"}), "'TextVectorization'.*files"),
    "system": (replace("os", "system"), r"unknown class 'system' \(named 'evil'\) of the module 'os'.*--plugin"),
    "eval": (replace("builtins", "eval"), "unknown class 'eval'.*'builtins'"),
    "registered": (replace(None, "Evil", registered_name="architectures>Evil"), "unknown class 'Evil'"),
    "pretended": (replace("numpy", "memmap", registered_name="Dense"), "unknown class 'memmap'"),
    "of_keras_but_no_layer": (replace("keras.src.utils.file_utils", "get_file"), "unknown class 'get_file'"),
    "function_as_class": (replace("keras.utils", "get_file"), "unknown class 'get_file'"),
    "model_loader": (replace("keras.saving", "load_model"), "unknown class 'load_model'"),
    "callback": (replace("keras.callbacks", "CSVLogger"), "unknown class 'CSVLogger'"),
    "module_is_a_list": (replace(["os"], "system"), "unknown class 'system'"),
    "name_is_a_list": (replace("keras.layers", ["Dense"]), r"a class called \['Dense'\]"),
    "old_form": (without_module, "'Dropout'.*without a module"),
    "system_function": (activation(function("os", "system")), "unknown function 'system' of the module 'os'"),
    "download": (activation(function("keras.utils", "get_file")), "unknown function 'get_file'"),
    "eval_function": (activation(function("builtins", "eval")), "unknown function 'eval'"),
    "typespec": (activation({"class_name": "__typespec__", "spec_name": "system", "module": "os", "config": []}),
        "unknown class '__typespec__'"),
    "initializer": (
        lambda c: layers(c)[1]["config"]["kernel_initializer"].update(module="os", class_name="popen"), "'popen'"),
    "policy": (lambda c: layers(c)[1]["config"]["dtype"].update(module="subprocess", class_name="Popen"), "'Popen'"),
    "wrapped": (
        replace("keras.layers", "TimeDistributed", {"layer": {"module": "keras.layers", "class_name": "Lambda"}}),
        "'Lambda'.*runs code",
    ),
    "compile": (
        lambda c: c.update(compile_config={"loss": {"module": "os", "class_name": "system"}}), "'system'"),
    "no_model": (lambda c: (c.clear(), c.update(a=1)), "describes a dict, not a model"),
    "a_layer": (
        lambda c: (layer := layers(c)[-1], c.clear(), c.update(layer)), "describes a Dense, not a model"),
    "nonsense": (lambda c: layers(c)[1]["config"].update(kernel_size=["x"]), "Keras cannot build it"),
    "mismatch": (lambda c: layers(c)[-2]["config"].update(units=10**9), "Keras cannot build it.*incompatible"),
    "units": (larger(lambda c: layers(c)[-2]["config"].update(units=2**24)), "need [0-9,]{11} weights, and it stores"),
    "image": (
        larger(lambda c: [each[0]["config"].update(batch_shape=[None, 2**14, 2**14, 1])
                          for each in (c["config"]["layers"], layers(c))]), "'rescaling.*' computes"),
    "upsampling": (larger(enlarge), "'evil' computes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configurations(
    name: str, members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, function_name in ((os, "system"), (os, "popen"), (builtins, "eval"), (keras.utils, "get_file")):
        monkeypatch.setattr(module, function_name, lambda *a, **k: pytest.fail("the file's code ran"))
    change, text = HOSTILE[name]
    with at_most(256):
        found = refusal(write(tmp_path / "model.keras", changed(members, change)))
        assert re.search(text, found), found


def scores(images: Any) -> Any:
    pixels = keras.layers.UpSampling1D(100)(keras.layers.Reshape((784, 1))(images))
    return keras.layers.MultiHeadAttention(4, 2)(pixels, pixels)


def steps(layer: Callable[[], Any], factor: int = 1_000) -> Callable[[Any], Any]:
    return lambda images: layer()(keras.layers.UpSampling1D(factor)(keras.layers.Reshape((784, 1))(images)))


def pooled(layer: type[keras.layers.Layer]) -> Callable[[Any], Any]:
    return lambda images: layer(2_000, strides=1, padding="same")(keras.layers.UpSampling2D(100)(images))


def same_layer_often(images: Any) -> Any:
    layer = keras.layers.Conv2D(32, 5, padding="same")
    x = keras.layers.Conv2D(32, 1)(keras.layers.UpSampling2D(30)(images))
    for _ in range(20):
        x = layer(x)
    return x


L = keras.layers
GREEDY: dict[str, tuple[Callable[[Any], Any], str]] = {
    "attention_scores": (scores, "its operation '.*' takes [0-9,]{14} values"),
    "dilation": (lambda x: L.Conv2D(1, 3, padding="same", dilation_rate=10**6)(x), "takes [0-9,]{18} values"),
    "depthwise_dilation": (lambda x: L.DepthwiseConv2D(3, padding="same", dilation_rate=10**6)(x), "takes [0-9,]{17}"),
    "lstm": (steps(lambda: L.LSTM(64)), "takes the time of .* multiplications"),
    "gru_both_ways": (steps(lambda: L.Bidirectional(L.GRU(64))), "takes the time of .* multiplications"),
    "unrolled": (steps(lambda: L.LSTM(2, unroll=True)), "'lstm.*' unrolls 784,000 steps"),
    "wrapped": (steps(lambda: L.Bidirectional(L.LSTM(2, unroll=True))), "unrolls 784,000 steps"),
    "distributed": (steps(lambda: L.TimeDistributed(L.Dense(2))), "'time_distributed.*' unrolls 784,000 steps"),
    "max_pooling": (pooled(L.MaxPooling2D), "takes the time of .*pool"),
    "mean_pooling": (pooled(L.AveragePooling2D), "takes the time of .*pool"),
    "transposed": (lambda x: L.Conv2DTranspose(1, 5_000, padding="same")(x), "weights|values|multiplications"),
    "convolutions": (same_layer_often, "takes the time of .*onvolution"),
    "no_size": (lambda x: L.GlobalAveragePooling2D()(keras.Input((None, None, 1))), "no fixed size"),
}  # fmt: skip


@pytest.mark.parametrize("name", GREEDY)
def test_files_that_would_take_all_memory_or_minutes(name: str, tmp_path: Path) -> None:
    make, text = GREEDY[name]
    with keras.StatelessScope(initialize_variables=False):
        images = keras.Input((28, 28, 1))
        made = make(images)
        start = images if name != "no_size" else made._keras_history.operation.input
        config = keras.saving.serialize_keras_object(keras.Model(start, made))
    members = right() | {CONFIG: json.dumps(config).encode(), WEIGHTS: many_weights()}
    with at_most(512):
        found = refusal(write(tmp_path / "model.keras", members))
        assert re.search(text, found), found


def many_weights() -> bytes:
    """As many as the layers above may need."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["many"] = np.zeros(2**17, np.float32)
    return content.getvalue()


@pytest.mark.parametrize("name", [*families.each(), "attention", "recurrent", "shared"])
def test_usual_networks_are_within_the_limits(name: str, tmp_path: Path) -> None:
    images = keras.Input((28, 28, 1))
    pixels = L.Reshape((784, 1))(images)
    layer = L.Dense(2)
    networks: dict[str, Callable[[], Any]] = {
        "attention": lambda: L.MultiHeadAttention(2, 4)(pixels, pixels),
        "recurrent": lambda: L.Bidirectional(L.LSTM(8))(pixels),
        "shared": lambda: layer(pixels) + layer(pixels * 2.0),
    }
    if name in networks:
        model = keras.Model(images, networks[name]())
    else:
        side = max(28, architectures.get(name).smallest_side)
        model = as_classifier(architectures.build(name, (side, side, 1), 10, filters=4 if name == "chollet" else None))
    model.save(tmp_path / "model.keras")
    assert load(tmp_path / "model.keras").count_params() == model.count_params()


def test_a_configuration_of_very_many_classes(members: dict[str, bytes], tmp_path: Path) -> None:
    many = changed(members, lambda config: config.update(more=[layers(config)[1]] * 10_000))
    assert "more than 20,000 classes" in refusal(write(tmp_path / "model.keras", many))


def test_real_files_with_a_lambda_or_an_unregistered_class(tmp_path: Path) -> None:
    class Unregistered(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    for layer, name in ((keras.layers.Lambda(lambda x: x * 2), "'Lambda'"), (Unregistered(), "'Unregistered'")):
        path = tmp_path / "model.keras"
        keras.Sequential([keras.Input((2,)), layer]).save(path)
        assert name in refusal(path)


def test_layers_of_plugins_and_functions_of_keras_load(tmp_path: Path) -> None:
    plugin = tmp_path / "scaling.py"
    plugin.write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='architectures')\n"
        "class ScalingOfATest(keras.layers.Layer):\n"
        "    def build(self, shape):\n"
        "        self.scale = self.add_weight(shape=(shape[-1],), initializer='ones')\n"
        "    def call(self, x):\n"
        "        return x * self.scale\n"
    )
    architectures.load_plugin(str(plugin))
    scaling = keras.saving.get_custom_objects()["architectures>ScalingOfATest"]
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="silu", kernel_regularizer="l2")(image)
    x = keras.layers.BatchNormalization()(scaling()(x))
    x = keras.ops.mean(keras.ops.relu6(x) * 0.5 + x, axis=(1, 2))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax", dtype="float32")(x))
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))


def test_counting_weights_leaves_nothing_behind(members: dict[str, bytes], tmp_path: Path) -> None:
    """Keras gives variables without values theirs at the next opportunity: those of a refused file must be gone."""
    large = changed(members, lambda config: layers(config)[-2]["config"].update(units=10**9))
    refusal(write(tmp_path / "model.keras", large))
    with keras.StatelessScope():
        pass
    assert load(write(tmp_path / "model.keras", members)).count_params() < 10**4


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000])
def test_configurations_that_are_none(text: bytes, members: dict[str, bytes], tmp_path: Path) -> None:
    assert "config.json" in refusal(write(tmp_path / "model.keras", {**members, CONFIG: text}))
