"""Promotion and verification on a real sweep: what ships was executed, and a refusal changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import coremltools
import pytest
from conftest import Outcome, Swept, run_module
from mlflow import MlflowClient

from conversion import runtime
from conversion.promote import DEFAULT_OUTPUT, output_path
from experiments import datasets

LABELS = [str(digit) for digit in range(10)]


def client_of(folder: Path) -> MlflowClient:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def snapshot(folder: Path) -> dict[str, object]:
    """Everything that a refused promotion must leave as it was."""
    client = client_of(folder)
    versions = client.search_model_versions("name = 'mnist5k-classifier'")
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"}
    return {
        "files": files,
        "aliases": client.get_registered_model("mnist5k-classifier").aliases,
        "versions": [(version.version, version.tags) for version in versions],
    }


@pytest.fixture(scope="module")
def promoted(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A folder in which the best model of the sweep was promoted, and what --json printed."""
    folder = tmp_path_factory.mktemp("promoted")
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(swept.folder / name, folder / name)
    done = run_module("conversion.promote", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert done.err == ""
    return folder, done.json


def test_the_file_has_the_promised_interface(promoted: tuple[Path, dict], swept: Swept) -> None:
    folder, _result = promoted
    file = folder / DEFAULT_OUTPUT
    spec = coremltools.models.MLModel(str(file), skip_model_load=True).get_spec()  # Apple's reader, not ours
    description = spec.description
    (image,) = description.input
    assert image.name == "image"
    assert (image.type.imageType.width, image.type.imageType.height) == (28, 28)
    assert image.type.imageType.colorSpace == image.type.imageType.GRAYSCALE
    assert {output.name for output in description.output} == {"output", "classLabel"}
    assert description.predictedFeatureName == "classLabel"
    assert description.predictedProbabilitiesName == "output"
    assert list(spec.neuralNetworkClassifier.stringClassLabels.vector) == LABELS
    (scaler,) = spec.neuralNetworkClassifier.preprocessing
    assert scaler.scaler.channelScale == pytest.approx(1 / 255)
    assert all(feature.shortDescription for feature in [image, *description.output])
    metadata = description.metadata
    best = swept.result["leaderboard"][0]
    assert (metadata.author, metadata.license, metadata.versionString) == ("pocketnets", "MIT", best["run_id"][:8])
    assert best["architecture"] in metadata.shortDescription
    user = dict(metadata.userDefined)
    assert user["run_id"] == best["run_id"]
    assert user["study"] == "small"
    assert user["architecture"] == best["architecture"]
    assert user["dataset_digest"] == datasets.load("mnist5k").digest
    assert float(user["val_accuracy"]) == best["val_accuracy"]
    assert {"preprocessing_version", "git_commit"} <= user.keys()


def test_the_searched_size_is_the_shipped_size(promoted: tuple[Path, dict], swept: Swept) -> None:
    folder, result = promoted
    size = (folder / DEFAULT_OUTPUT).stat().st_size
    assert size == swept.result["leaderboard"][0]["coreml_bytes"] == result["coreml_bytes"]


def test_evidence(promoted: tuple[Path, dict], swept: Swept) -> None:
    folder, result = promoted
    data = datasets.load("mnist5k")
    executed = runtime.load(folder / DEFAULT_OUTPUT)
    for name, parity in zip(("val", "test"), result["parity"], strict=True):
        split = getattr(data, name)
        predictions = executed.probabilities(split.images).argmax(axis=1)
        assert parity["split"] == name
        assert parity["images"] == 500
        assert parity["max_difference"] <= 1e-5
        assert parity["label_flips"] == 0
        assert parity["file_accuracy"] == float((predictions == split.labels).mean())
    assert result["test_accuracy"] == result["parity"][1]["file_accuracy"]
    assert result["val_accuracy"] == swept.result["leaderboard"][0]["val_accuracy"]
    assert result["test_accuracy_low"] < result["test_accuracy"] < result["test_accuracy_high"]
    assert all(check["passed"] for check in result["checks"])


def test_what_mlflow_holds_of_a_promotion(promoted: tuple[Path, dict]) -> None:
    folder, result = promoted
    client = client_of(folder)
    version = client.get_model_version_by_alias("mnist5k-classifier", "champion")
    assert int(version.version) == result["version"]
    content = (folder / DEFAULT_OUTPUT).read_bytes()
    assert version.tags["coreml_sha256"] == hashlib.sha256(content).hexdigest() == result["coreml_sha256"]
    assert int(version.tags["coreml_bytes"]) == len(content)
    assert version.tags["coreml_format"] == "neuralnetwork"
    assert version.tags["compression"] == "none"
    assert version.tags["parity"].startswith("verified: ")
    assert float(version.tags["test_accuracy"]) == result["test_accuracy"]
    model_id = version.tags["model_id"]
    assert {"DigitClassifier.mlmodel", "promotion.json", "promotion.html"} <= {
        item.path for item in client.list_logged_model_artifacts(model_id)
    }
    place = Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))
    assert (place / "DigitClassifier.mlmodel").read_bytes() == content
    assert json.loads((place / "promotion.json").read_text())["coreml_sha256"] == result["coreml_sha256"]
    page = (place / "promotion.html").read_text()
    assert result["run_id"] in page
    assert "http://" not in page
    assert "https://" not in page


def test_promoting_again_gives_the_same_bytes(promoted: tuple[Path, dict], command) -> None:  # type: ignore[no-untyped-def]
    folder, result = promoted
    again = command("conversion.promote", "--json", cwd=folder)
    assert again.code == 0, again.err
    assert again.json["coreml_sha256"] == result["coreml_sha256"]


def test_verify_the_promoted_file(promoted: tuple[Path, dict], command) -> None:  # type: ignore[no-untyped-def]
    folder, result = promoted
    found = command("conversion.verify", DEFAULT_OUTPUT, "--run", result["run_id"], "--json", cwd=folder)
    assert found.code == 0, found.err
    assert found.json["verified"] is True
    assert found.json["run_id"] == result["run_id"]
    table = command("conversion.verify", DEFAULT_OUTPUT, "--run", result["run_id"], cwd=folder)
    assert "verified" in table.out
    assert "500 images executed" in table.out


def _scale(spec) -> None:  # type: ignore[no-untyped-def]
    spec.neuralNetworkClassifier.preprocessing[0].scaler.channelScale = 1 / 256


def _zero_kernel(spec) -> None:  # type: ignore[no-untyped-def]
    weights = _first(spec, "convolution").weights.floatValue
    weights[:9] = [0.0] * 9


def _drop_bias(spec) -> None:  # type: ignore[no-untyped-def]
    layer = _first(spec, "innerProduct")
    layer.hasBias = False
    layer.ClearField("bias")


def _no_softmax(spec) -> None:  # type: ignore[no-untyped-def]
    layer = spec.neuralNetworkClassifier.layers[-1]
    assert layer.WhichOneof("layer") in {"softmax", "softmaxND"}
    layer.ClearField(layer.WhichOneof("layer"))
    layer.activation.linear.alpha = 1.0


def _rotate_labels(spec) -> None:  # type: ignore[no-untyped-def]
    labels = spec.neuralNetworkClassifier.stringClassLabels.vector
    labels[:] = [*labels[1:], labels[0]]


def _one_label_less(spec) -> None:  # type: ignore[no-untyped-def]
    del spec.neuralNetworkClassifier.stringClassLabels.vector[-1]


def _other_size(spec) -> None:  # type: ignore[no-untyped-def]
    spec.description.input[0].type.imageType.height = 29


def _rgb(spec) -> None:  # type: ignore[no-untyped-def]
    image = spec.description.input[0].type.imageType
    image.colorSpace = image.RGB


def _nudge_weight(spec) -> None:  # type: ignore[no-untyped-def]
    weights = _first(spec, "innerProduct").weights.floatValue
    weights[7] += 0.05


def _other_run(spec) -> None:  # type: ignore[no-untyped-def]
    spec.description.metadata.userDefined["run_id"] = "0" * 32


def _first(spec, kind: str):  # type: ignore[no-untyped-def]
    return next(
        getattr(layer, kind) for layer in spec.neuralNetworkClassifier.layers if layer.WhichOneof("layer") == kind
    )


MUTATIONS = (
    _scale,
    _zero_kernel,
    _drop_bias,
    _no_softmax,
    _rotate_labels,
    _one_label_less,
    _other_size,
    _rgb,
    _nudge_weight,
    _other_run,
)


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__.strip("_"))
def test_a_wrong_file_never_verifies(mutate, promoted: tuple[Path, dict], tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    folder, result = promoted
    spec = coremltools.utils.load_spec(str(folder / DEFAULT_OUTPUT))
    mutate(spec)
    wrong = tmp_path / "wrong.mlmodel"
    wrong.write_bytes(spec.SerializeToString())
    found = command("conversion.verify", wrong, "--run", result["run_id"], cwd=folder)
    assert found.code == 1, found
    assert found.err.startswith("error: ")


def test_an_unknown_layer_is_not_checkable(promoted: tuple[Path, dict], tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    folder, result = promoted
    spec = coremltools.utils.load_spec(str(folder / DEFAULT_OUTPUT))
    layer = spec.neuralNetworkClassifier.layers[1]
    layer.ClearField(layer.WhichOneof("layer"))
    layer.custom.className = "Secret"
    odd = tmp_path / "odd.mlmodel"
    odd.write_bytes(spec.SerializeToString())
    found = command("conversion.verify", odd, "--run", result["run_id"], cwd=folder)
    assert found.code == 3
    assert "custom" in found.error


@pytest.mark.parametrize("content", [b"", b"not a model", os.urandom(1 << 16)])
def test_a_damaged_file(content: bytes, promoted: tuple[Path, dict], tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    folder, result = promoted
    file = tmp_path / "damaged.mlmodel"
    file.write_bytes(content)
    found: Outcome = command("conversion.verify", file, "--run", result["run_id"], cwd=folder)
    assert found.code in {1, 3}
    assert str(file) in found.error


def test_the_file_of_another_run(promoted: tuple[Path, dict], swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    folder, _ = promoted
    other = swept.result["leaderboard"][1]["run_id"]
    found = command("conversion.verify", DEFAULT_OUTPUT, "--run", other, cwd=folder)
    assert found.code == 1
    assert "probabilities differ" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-accuracy", "0.999"], "below --min-accuracy 0.999"),
        (["--max-bytes", "1000"], "above --max-bytes 1,000"),
        (["--min-accuracy", "0.999", "--max-bytes", "1000"], "; the file has"),
    ],
)
def test_a_refused_promotion_changes_nothing(own_store: Path, arguments: list[str], message: str, command) -> None:  # type: ignore[no-untyped-def]
    before = snapshot(own_store)
    found = command("conversion.promote", *arguments)
    assert found.code == 3
    assert message in found.error
    assert snapshot(own_store) == before
    dry = command("conversion.promote", *arguments, "--dry-run", "--json")
    assert dry.code == 3
    assert dry.json["decision"] == "refused"
    assert snapshot(own_store) == before


def test_a_dry_run_changes_nothing(own_store: Path, command) -> None:  # type: ignore[no-untyped-def]
    before = snapshot(own_store)
    found = command("conversion.promote", "--dry-run")
    assert found.code == 0, found.err
    assert "Would promote" in found.out
    assert snapshot(own_store) == before


@pytest.mark.parametrize("name", ["DigitClassifier.mlmodel", "DigitClassifier.mlpackage"])
def test_a_file_that_is_not_ours_is_left_alone(own_store: Path, name: str, command) -> None:  # type: ignore[no-untyped-def]
    foreign = own_store / DEFAULT_OUTPUT.with_name(name)
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's work")
    before = snapshot(own_store)
    found = command("conversion.promote")
    assert found.code == 3
    assert "was not written by a promotion" in found.error
    assert snapshot(own_store) == before


def test_force_overwrites_a_file_that_is_not_ours(own_store: Path, command) -> None:  # type: ignore[no-untyped-def]
    foreign = own_store / DEFAULT_OUTPUT
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's work")
    other = foreign.with_suffix(".mlpackage")
    other.mkdir()
    assert command("conversion.promote", "--force").code == 0
    assert runtime.load(foreign).interface.labels == tuple(LABELS)
    assert not other.exists()  # Xcode cannot hold two forms of one name


def test_choosing_by_run_version_output_and_author(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    second = swept.result["leaderboard"][1]
    by_run = command("conversion.promote", "--run", second["run_id"], "--output", "out/Second", "--json")
    assert by_run.code == 0, by_run.err
    assert by_run.json["run_id"] == second["run_id"]
    assert by_run.json["version"] == second["version"]
    assert (own_store / "out/Second.mlmodel").is_file()
    by_version = command(
        *("conversion.promote", "--version", second["version"], "--author", "Ada", "--license", "CC0", "--json"),
    )
    assert by_version.json["run_id"] == second["run_id"]
    metadata = runtime.load(own_store / DEFAULT_OUTPUT).interface.metadata
    assert (metadata.author, metadata.license) == ("Ada", "CC0")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--run", "nope"], 2, "Unknown run 'nope'"),
        (["--version", "99"], 2, "Unknown version 99 of registered model 'mnist5k-classifier'. Its versions: 1, 2."),
        (["--version", "0"], 2, "at least 1"),
        (["--version", "1", "--run", "x"], 2, "not allowed with"),
        (["--model", "nope"], 2, "Registered model 'nope' has no version"),
        (["--min-accuracy", "97"], 2, "out of range"),
        (["--max-bytes", "0"], 2, "at least 1"),
        (["--tracking-uri", "http://127.0.0.1:9"], 1, "cannot be reached"),
    ],
)
def test_wrong_usage(own_store: Path, arguments: list[str], code: int, message: str, command) -> None:  # type: ignore[no-untyped-def]
    before = snapshot(own_store)
    found = command("conversion.promote", *arguments)
    assert found.code == code
    assert message in found.error
    assert snapshot(own_store) == before


def test_runs_without_a_model(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    overtaken = swept.result["leaderboard"][2]["run_id"]
    for run_id in (overtaken, swept.result["parent_run_id"]):
        found = command("conversion.promote", "--run", run_id)
        assert found.code == 1
        assert "has no model" in found.error


def test_a_model_file_that_was_changed_is_refused(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    version = client_of(own_store).get_model_version_by_alias("mnist5k-classifier", "candidate")
    client_of(own_store).set_model_version_tag("mnist5k-classifier", version.version, "keras_sha256", "0" * 64)
    found = command("conversion.promote")
    assert found.code == 1
    assert "not loaded" in found.error
    assert not (own_store / "ios").exists()


def test_other_data_than_the_run_was_trained_on(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    client_of(own_store).set_tag(swept.result["leaderboard"][0]["run_id"], "dataset_digest", "0" * 64)
    found = command("conversion.promote")
    assert found.code == 1
    assert "its accuracy cannot be compared" in found.error


def test_a_full_disk_leaves_nothing_half_written(own_store: Path, swept: Swept) -> None:
    """A limit on the size of written files stands for the disk: Linux then fails the write as a full disk does."""
    before = snapshot(own_store)
    code = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from contextlib import contextmanager\n"
        "import conversion.files as files\n"
        "staged = files.staged\n"
        "@contextmanager\n"
        "def limited(content, path):\n"
        "    if path.parent.name == 'Model': resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, -1))\n"
        "    try:\n"
        "        with staged(content, path) as put: yield put\n"
        "    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "files.staged = limited\n"
        "from conversion import promote\n"
        "sys.exit(promote.main([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=own_store, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: File too large")
    assert snapshot(own_store) == before


def test_a_folder_that_cannot_be_made(own_store: Path, command) -> None:  # type: ignore[no-untyped-def]
    (own_store / "ios").write_text("a file in the folder's place")
    found = command("conversion.promote")
    assert found.code == 1
    assert "ios" in found.error


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    for module, *arguments in (
        ("conversion.promote",),
        ("experiments.leaderboard",),
    ):
        found = command(module, *arguments, "--tracking-uri", "sqlite:///typo.db")
        assert found.code == 1
        assert "does not exist" in found.error
        assert not (tmp_path / "typo.db").exists()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a/Digits", "a/Digits.mlmodel"),
        ("Digits.mlmodel", "Digits.mlmodel"),
        ("Digits.mlpackage", "Digits.mlmodel"),
        ("v1.2", "v1.2.mlmodel"),
        (".", "DigitClassifier.mlmodel"),
    ],
)
def test_output_path(given: str, found: str) -> None:
    assert output_path(Path(given)) == Path(found)
