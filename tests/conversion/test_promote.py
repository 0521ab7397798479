"""Promotion on a real sweep: what ships was executed, and is recorded whole."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import coremltools
import pytest

from conversion import runtime
from conversion.promotion.place import DEFAULT_OUTPUT, output_path
from experiments import datasets
from experiments.tracking import Tracker
from experiments.tracking.parents import EXPECTED
from tests.support.commands import Command
from tests.support.promotions import artifacts, client_of, snapshot
from tests.support.stores import Promoted, Swept
from tests.support.warm import Program

LABELS = [str(digit) for digit in range(10)]


def test_the_file_has_the_promised_interface(promoted: Promoted, swept: Swept) -> None:
    folder = promoted.folder
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
    assert (metadata.author, metadata.license, metadata.versionString) == ("", "", best["run_id"][:8])  # not given
    assert best["architecture"] in metadata.shortDescription
    user = dict(metadata.userDefined)
    assert user["run_id"] == best["run_id"]
    assert user["study"] == "small"
    assert user["architecture"] == best["architecture"]
    assert user["dataset_digest"] == datasets.load("mnist5k").digest
    assert float(user["val_accuracy"]) == best["val_accuracy"]
    assert {"preprocessing_version", "git_commit"} <= user.keys()


def test_the_searched_size_is_the_shipped_size(promoted: Promoted, swept: Swept) -> None:
    folder, result = promoted.folder, promoted.result
    size = (folder / DEFAULT_OUTPUT).stat().st_size
    assert size == swept.result["leaderboard"][0]["coreml_bytes"] == result["coreml_bytes"]


def test_evidence(promoted: Promoted, swept: Swept) -> None:
    folder, result = promoted.folder, promoted.result
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


def test_what_mlflow_holds_of_a_promotion(promoted: Promoted) -> None:
    folder, result = promoted.folder, promoted.result
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
    assert {"DigitClassifier.mlmodel", "promotion.json", "promotion.html"} <= {
        item.path for item in client.list_logged_model_artifacts(version.tags["model_id"])
    }
    assert promoted.attached == content
    assert (version.tags["promotion"], version.tags["forced_reason"]) == ("promoted", "none")
    place = artifacts(folder, result["promotion"])
    assert (place / "DigitClassifier.mlmodel").read_bytes() == content
    assert json.loads((place / "promotion.json").read_text())["coreml_sha256"] == result["coreml_sha256"]


def test_every_figure_of_the_evidence_has_a_unit(promoted: Promoted) -> None:
    evidence = json.loads((artifacts(promoted.folder, promoted.result["promotion"]) / "promotion.json").read_text())
    assert evidence["schema_version"] == 4
    units = evidence.pop("units")

    def keys_of_numbers(value: object, key: str) -> set[str]:
        if isinstance(value, dict):
            return set().union(*(keys_of_numbers(item, name) for name, item in value.items()), set())
        if isinstance(value, list):
            return set().union(*(keys_of_numbers(item, key) for item in value), set())
        return {key} if isinstance(value, int | float) and not isinstance(value, bool) else set()

    found = keys_of_numbers(evidence, "")
    assert found <= units.keys()
    assert {"test_accuracy", "coreml_bytes", "max_difference", "confusion_matrix", "accuracy_loss"} <= found


def test_the_confusion_matrix_is_that_of_the_file(promoted: Promoted) -> None:
    test = datasets.load("mnist5k").test
    answers = runtime.load(promoted.folder / DEFAULT_OUTPUT).probabilities(test.images).argmax(axis=1)
    matrix = promoted.result["confusion_matrix"]
    for true, row in enumerate(matrix):
        assert row == [int(((test.labels == true) & (answers == answer)).sum()) for answer in range(10)]


def test_the_file_is_evaluated_on_the_test_images(promoted: Promoted) -> None:
    from dataclasses import asdict

    from experiments.evaluation.metrics import evaluate

    data = datasets.load("mnist5k")
    probabilities = runtime.load(promoted.folder / DEFAULT_OUTPUT).probabilities(data.test.images)
    expected = asdict(evaluate(probabilities, data.test.labels, data.class_names))
    assert promoted.result["test_evaluation"] == json.loads(json.dumps(expected))
    assert promoted.result["test_evaluation"]["accuracy"] == promoted.result["test_accuracy"]
    page = (artifacts(promoted.folder, promoted.result["promotion"]) / "promotion.html").read_text()
    assert f"Expected calibration error {expected['expected_calibration_error']:.4f}" in page
    assert page.count("<figure>") == len(expected["mistakes"]) > 0
    assert "use number 1 of the test split of mnist5k" in page


def test_the_best_of_a_sweep_is_promoted_with_what_the_sweep_expects_of_it(promoted: Promoted, swept: Swept) -> None:
    assert promoted.result["run_id"] == swept.result["leaderboard"][0]["run_id"]
    expected, low, high = (swept.result[name] for name in EXPECTED)
    assert [promoted.result[name] for name in EXPECTED] == [expected, low, high]
    page = (artifacts(promoted.folder, promoted.result["promotion"]) / "promotion.html").read_text()
    assert f"{expected:.4f}" in page
    assert f"{low:.3f} to {high:.3f}" in page


def test_every_look_at_the_test_images_is_counted(own_promoted: Path, promoted: Promoted, command: Command) -> None:
    first = promoted.result["test_look"]
    assert (first["number"], first["dataset"], first["earlier"]) == (1, "mnist5k", [])
    run_id = promoted.result["run_id"]
    assert command("conversion.promote", "--min-accuracy", "1").code == 3
    assert command("conversion.rollback").code == 3  # executes nothing
    verified = command("conversion.verify", DEFAULT_OUTPUT, "--run", run_id, "--json")
    assert verified.code == 0, verified.err
    assert verified.json["test_look"]["number"] == 3
    dry = command("conversion.promote", "--dry-run")
    assert "This was use number 4 of the test split of mnist5k, digest c31602fa7723" in dry.out
    looks = Tracker(f"sqlite:///{own_promoted / 'mlflow.db'}").test_access.looks(datasets.load("mnist5k").digest)
    assert [look.command for look in looks] == [
        "conversion.promote",
        "conversion.promote",
        "conversion.verify",
        "conversion.promote --dry-run",
    ]
    assert {look.run_id for look in looks} == {run_id}
    assert verified.json["test_look"]["earlier"][0]["command"] == "conversion.promote"


def test_the_page_asks_for_nothing(promoted: Promoted) -> None:
    place = artifacts(promoted.folder, promoted.result["promotion"])
    page = (place / "promotion.html").read_text()
    for key in ("run_id", "dataset_digest", "coreml_sha256", "coreml_reproducible_sha256"):
        assert promoted.result[key] in page
    for criterion in promoted.result["gate"]:
        assert criterion["name"] in page
    loads = re.sub(r'<a href="[^"]*"', "", page)  # a link to its run loads nothing
    assert not re.findall(r"https?:|<script|<link|@import|url\(", loads)  # MLflow shows it in a sandbox
    assert f"/#/runs/{promoted.result['run_id']}" in page


def test_promoting_again_gives_the_same_file(promoted: Promoted, own_promoted: Path, command: Command) -> None:
    again = command("conversion.promote", "--json")
    assert again.code == 0, again.err
    assert again.json["coreml_reproducible_sha256"] == promoted.result["coreml_reproducible_sha256"]
    assert (again.json["promotion"], again.json["previous_promotion"]) == (2, 1)
    spec = coremltools.utils.load_spec(str(own_promoted / DEFAULT_OUTPUT))  # by hand, as the evidence says
    del spec.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"]
    digest = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
    assert digest == promoted.result["coreml_reproducible_sha256"]


def test_choosing_by_run_version_output_and_author(own_store: Path, swept: Swept, command: Command) -> None:
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


def test_a_model_whose_experiment_was_deleted(own_store: Path, command: Command) -> None:
    client = client_of(own_store)
    experiment_id = client.get_experiment_by_name("mnist5k").experiment_id
    client.delete_experiment(experiment_id)
    before = snapshot(own_store)
    refused = command("conversion.promote")
    assert refused.code == 1
    assert f"Restore it: mlflow experiments restore --experiment-id {experiment_id}." in refused.error
    assert snapshot(own_store) == before
    assert Tracker(f"sqlite:///{own_store / 'mlflow.db'}").test_access.looks(datasets.load("mnist5k").digest) == ()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--run", "nope"], 2, "Unknown run 'nope'"),
        (["--version", "99"], 2, "Unknown version 99 of registered model 'mnist5k-classifier'. Its versions: 1, 2, 3."),
        (["--version", "0"], 2, "at least 1"),
        (["--version", "1", "--run", "x"], 2, "not allowed with"),
        (["--model", "nope"], 2, "Registered model 'nope' has no version"),
        (["--min-accuracy", "97"], 2, "out of range"),
        (["--max-bytes", "0"], 2, "at least 1"),
        (["--tracking-uri", "http://127.0.0.1:9"], 1, "cannot be reached"),
    ],
)
def test_wrong_usage(own_store: Path, arguments: list[str], code: int, message: str, command: Command) -> None:
    before = snapshot(own_store)
    found = command("conversion.promote", *arguments)
    assert found.code == code
    assert message in found.error
    assert snapshot(own_store) == before


def test_runs_without_a_model(own_store: Path, swept: Swept, command: Command) -> None:
    pruned = swept.result["leaderboard"][2]["run_id"]
    client = client_of(own_store)
    (output,) = client.get_run(pruned).outputs.model_outputs
    client.set_logged_model_tags(output.model_id, {"pruned_at": "today"})
    for run_id in (pruned, swept.result["parent_run_id"]):
        found = command("conversion.promote", "--run", run_id)
        assert found.code == 1
        assert "has no model" in found.error


def test_a_model_file_that_was_changed_is_refused(own_store: Path, swept: Swept, command: Command) -> None:
    version = client_of(own_store).get_model_version_by_alias("mnist5k-classifier", "candidate")
    client_of(own_store).set_model_version_tag("mnist5k-classifier", version.version, "keras_sha256", "0" * 64)
    found = command("conversion.promote")
    assert found.code == 1
    assert "not loaded" in found.error
    assert not (own_store / "ios").exists()


def test_other_data_than_the_run_was_trained_on(own_store: Path, swept: Swept, command: Command) -> None:
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
        "from conversion.promotion import publish\n"
        "staged = publish.staged\n"
        "@contextmanager\n"
        "def limited(content, path):\n"
        "    if path.parent.name == 'Model': resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, -1))\n"
        "    try:\n"
        "        with staged(content, path) as put: yield put\n"
        "    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "publish.staged = limited\n"
        "from conversion import promote\n"
        "sys.exit(promote.main([]))\n"
    )
    program = Program("tests.support.code", code, cwd=own_store)
    _, err = program.communicate()
    assert program.returncode == 1, err
    (line,) = err.splitlines()
    assert line.startswith("error: File too large")
    assert snapshot(own_store) == before


def test_a_folder_that_cannot_be_made(own_store: Path, command: Command) -> None:
    (own_store / "ios").write_text("a file in the folder's place")
    found = command("conversion.promote")
    assert found.code == 1
    assert "ios" in found.error


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path, command: Command) -> None:
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
    assert output_path(given, DEFAULT_OUTPUT) == Path(found)


def test_the_answer_comes_first_and_what_is_as_it_should_be_is_counted(own_store: Path, command: Command) -> None:
    short, long = (command("conversion.promote", "--dry-run", *options).out for options in ([], ["--verbose"]))
    lines = short.splitlines()
    assert lines[0].startswith("Would promote ")
    assert lines[1].startswith("Test accuracy of the file ")
    (counted,) = [line for line in lines if line.endswith("properties of the file; --verbose lists them")]
    number = int(counted.split()[1])
    named = re.findall(r"^  ok   [a-z ]+$", long, flags=re.MULTILINE)
    assert len(named) == number > 10
    assert not set(named) & set(lines)
    assert "--verbose" not in long
    refused = command("conversion.promote", "--dry-run", "--min-accuracy", "0.9999")
    assert refused.code == 3
    assert "FAIL test accuracy: " in refused.out
    assert "error: would be refused: test accuracy of the file is" in refused.err
