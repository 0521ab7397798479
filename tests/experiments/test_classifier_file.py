"""Damaged and hostile `.keras` files: each ends in one clear line, before Keras opens it, and nothing is written."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import os
import re
import resource
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from mlflow import MlflowClient

import architectures
from architectures.errors import ProjectError
from experiments import keras_file
from experiments.classifier import as_classifier, load_classifier

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a right file."""
    path = tmp_path_factory.mktemp("right") / "model.keras"
    as_classifier(architectures.build("malireddi", (28, 28, 1), 10, filters=2)).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def load(path: Path) -> keras.Model:
    """Load a file whose record agrees with it, as after a forged registration."""
    return load_classifier(path, hashlib.sha256(path.read_bytes()).hexdigest())


def refusal(path: Path) -> str:
    """The one line of a refusal, during which no file has appeared beside the model."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ProjectError) as found:
        load(path)
    text = str(found.value)
    assert text.startswith(path.name)
    assert "\n" not in text
    assert len(text) < 600
    assert sorted(path.parent.rglob("*")) == before
    return text


def test_a_right_file_loads(members: dict[str, bytes], tmp_path: Path) -> None:
    model = load(write(tmp_path / "model.keras", members))
    assert model.output_shape == (None, 10)


def test_every_truncation_is_noticed(members: dict[str, bytes], tmp_path: Path) -> None:
    content = write(tmp_path / "model.keras", members).read_bytes()
    for end in {int(end) for end in np.linspace(0, len(content) - 1, 40)}:
        (tmp_path / "model.keras").write_bytes(content[:end])
        refusal(tmp_path / "model.keras")


def test_flipped_bytes_never_end_otherwise(members: dict[str, bytes], tmp_path: Path) -> None:
    content = write(tmp_path / "model.keras", members).read_bytes()
    refused = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        (tmp_path / "model.keras").write_bytes(damaged)
        try:
            load(tmp_path / "model.keras")
        except ProjectError:
            refused += 1
    assert refused == 60, "the archive's checksums cover every byte of its members"


def test_only_keras_files_and_only_with_a_record(members: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("model.h5", "model", "model.pkl"):
        assert ".keras files only" in refusal(write(tmp_path / name, members))
    with pytest.raises(ProjectError, match="its record says 000000000000"):
        load_classifier(write(tmp_path / "model.keras", members), "0" * 64)
    with pytest.raises(ProjectError, match="its record says"):
        load_classifier(tmp_path / "model.keras", "")


@pytest.mark.parametrize("tag", ["keras_sha256", "model_id"])
def test_a_version_without_a_record_is_not_promoted(tag: str, own_store: Path, command) -> None:  # type: ignore[no-untyped-def]
    client = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}", f"sqlite:///{own_store / 'mlflow.db'}")
    version = client.get_model_version_by_alias("mnist5k-classifier", "candidate").version
    client.delete_model_version_tag("mnist5k-classifier", version, tag)
    found = command("conversion.promote", "--version", version)
    assert found.code == 1
    assert "was not registered by a sweep or a trial" in found.error
    assert not (own_store / "ios").exists()


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/tmp/outside.txt", "assets/vocabulary.txt", "C:\\outside", "a" * 300]
)
def test_other_members(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    assert f"holds the member {name[:80]!r}" in refusal(write(folder / "model.keras", {**members, name: b"x"}))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, METADATA])
def test_missing_members(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    left = {known: content for known, content in members.items() if known != name}
    assert f"has no {name}" in refusal(write(tmp_path / "model.keras", left))


def test_members_of_one_name(members: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras", members)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(CONFIG, "{}")
    assert "two members of one name" in refusal(path)


def test_linked_members(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            link = zipfile.ZipInfo(name)
            link.external_attr = (0o120777 if name == WEIGHTS else 0o600) << 16
            archive.writestr(link, "/etc/passwd" if name == WEIGHTS else content)
    assert f"{WEIGHTS} is a link" in refusal(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members(compression: int, members: dict[str, bytes], tmp_path: Path) -> None:
    bomb = {**members, WEIGHTS: bytes(2**26)}
    assert "is compressed" in refusal(write(tmp_path / "model.keras", bomb, compression))


def directory_entry(content: bytes, name: str) -> int:
    """Where the archive's list of members describes one of them."""
    place = content.rindex(name.encode()) - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    return place


@pytest.mark.parametrize("size", [2**32 - 2, 2**31, 1])
def test_members_that_announce_another_size(size: int, members: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras", members)
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, directory_entry(bytes(content), WEIGHTS) + 20, size, size)
    path.write_bytes(content)
    refusal(path)


def test_members_that_overlap(members: dict[str, bytes], tmp_path: Path) -> None:
    """Three entries for the bytes of one member, as in a bomb that holds its parts many times."""
    path = write(tmp_path / "model.keras", members)
    content = bytearray(path.read_bytes())
    size = len(members[WEIGHTS])
    struct.pack_into("<II", content, directory_entry(bytes(content), CONFIG) + 20, size, size)
    struct.pack_into("<II", content, directory_entry(bytes(content), METADATA) + 20, size, size)
    path.write_bytes(content)
    assert "overlap" in refusal(path)


def test_a_directory_of_many_members_is_not_read(members: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras", members | {f"{i}": b"" for i in range(2000)})
    assert "list of members" in refusal(path)
    content = path.read_bytes()
    path.write_bytes(content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:])  # another directory elsewhere
    assert "no .keras archive" in refusal(path)


def test_other_archives_and_formats(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(members[WEIGHTS])  # an HDF5 file of older versions
    assert "no .keras archive" in refusal(path)
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR." + bytes(100))  # a pickle
    assert "no .keras archive" in refusal(path)
    path.write_bytes(b"")
    assert "no .keras archive" in refusal(path)
    with path.open("wb") as file:
        file.truncate(keras_file.MAX_ARCHIVE_BYTES + 1)
    assert "beyond the limit" in refusal(path)


# Configurations


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    change, text = HOSTILE[name]
    found = refusal(write(tmp_path / "model.keras", changed(members, change)))
    assert re.search(text, found), found
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "KiB: more than 256 MiB"


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


# Weights


def stored(change: Callable[[Any, Any, str], Any]) -> Callable[[dict[str, bytes], Path], bytes]:
    """The right weights after a change, given the file, a group of a layer and the name of a dataset in it."""

    def make(members: dict[str, bytes], folder: Path) -> bytes:
        buffer = io.BytesIO(members[WEIGHTS])
        with h5py.File(buffer, "r+") as file:
            change(file, file["layers/sequential/layers/dense/vars"], "0")
        return buffer.getvalue()

    return make


def external_data(file: Any, group: Any, name: str) -> None:
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, 4 * int(np.prod(shape)))])


def link_outside(file: Any, group: Any, name: str) -> None:
    del group[name]
    group[name] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: Any, group: Any, name: str) -> None:
    del group[name]
    group[name] = h5py.SoftLink("/vars")


def virtual(file: Any, group: Any, name: str) -> None:
    layout = h5py.VirtualLayout(group[name].shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", group[name].shape)
    del group[name]
    group.create_virtual_dataset(name, layout)


def empty_bomb(file: Any, group: Any, name: str) -> None:
    del group[name]
    group.create_dataset(name, (2**20, 2**20), "f4")


def packed_bomb(file: Any, group: Any, name: str) -> None:
    del group[name]
    group.create_dataset(name, data=np.zeros(2**22, np.float32), compression="gzip")


def objects(file: Any, group: Any, name: str) -> None:
    del group[name]
    group.create_dataset(name, data=["text"] * 3, dtype=h5py.string_dtype())


def cycle(file: Any, group: Any, name: str) -> None:
    group["self"] = group


def aliases(file: Any, group: Any, name: str) -> None:
    for i in range(50):
        group[f"again{i}"] = file["layers/sequential/layers/conv2d_2/vars/0"]
        group[f"more{i}"] = group[name]
    for i in range(20):
        file[f"twice{i}"] = group


HOSTILE_WEIGHTS: dict[str, tuple[Callable[[Any, Any, str], Any], str]] = {
    "external_data": (external_data, "lie in another file"),
    "external_link": (link_outside, "are a link to /etc/passwd"),
    "soft_link": (soft_link, "are a link to /vars"),
    "virtual": (virtual, "lie in another file"),
    "empty_bomb": (empty_bomb, r"of shape \(1048576, 1048576\) are not stored as they are"),
    "packed_bomb": (packed_bomb, "are not stored as they are"),
    "objects": (objects, "are of the type object"),
    "cycle": (cycle, "objects, or groups that hold themselves"),
    "aliases": (aliases, "overlap"),
    "missing": (lambda file, group, name: group.__delitem__(name), "weights, and it stores"),
}


@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_hostile_weights(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    change, text = HOSTILE_WEIGHTS[name]
    content = stored(change)(members, tmp_path)
    found = refusal(write(tmp_path / "model.keras", {**members, WEIGHTS: content}))
    assert re.search(text, found), found


def test_damaged_weights(members: dict[str, bytes], tmp_path: Path) -> None:
    """Cut or overwritten inside an archive whose checksums are right again."""
    content, refused = members[WEIGHTS], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content[: rng.integers(len(content))] if seed % 3 == 0 else content)
        for _ in range(0 if seed % 3 == 0 else 8):
            damaged[rng.integers(min(len(damaged), 4096))] = rng.integers(256)  # where most of the structure lies
        try:
            load(write(tmp_path / "model.keras", {**members, WEIGHTS: bytes(damaged)}))
        except ProjectError:
            refused += 1
    assert refused > 20
