"""The gate: every reason is told with its figures, a refusal changes nothing, and what overrides it is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
from scipy.stats import binom

from architectures.errors import ProjectError
from conversion import runtime
from conversion.promotion.champion import SIGNIFICANCE, load_champion, mcnemar_test
from conversion.promotion.gate import Decision, _contract, _guessing
from conversion.promotion.place import DEFAULT_OUTPUT
from conversion.verification.evidence import Evidence
from conversion.verification.parity import Parity
from experiments import datasets
from experiments.evaluation.metrics import evaluate
from experiments.tracking import Current, Tracker
from tests.support.commands import Command
from tests.support.promotions import (
    NAME,
    PROMOTIONS,
    REFUSAL_TAGS,
    artifacts,
    champion,
    client_of,
    shipped,
    snapshot,
)
from tests.support.stores import Promoted, Swept


def verdicts(result: dict) -> dict[str, str]:
    return {criterion["name"]: criterion["verdict"] for criterion in result["gate"]}


def finding(result: dict, name: str) -> str:
    return next(criterion["finding"] for criterion in result["gate"] if criterion["name"] == name)


@pytest.mark.parametrize(
    ("gained", "lost", "worse"), [(4, 12, True), (5, 11, False), (12, 4, False), (0, 5, True), (0, 4, False)]
)
def test_the_test_of_paired_answers(gained: int, lost: int, worse: bool) -> None:
    labels = np.zeros(500, np.int64)
    ours, theirs = labels.copy(), labels.copy()
    ours[:lost] = 1
    theirs[lost : lost + gained] = 1
    ours[400:410] = theirs[400:410] = 2  # both wrong: says nothing
    found = mcnemar_test(ours, theirs, labels)
    assert (found.only_candidate_right, found.only_champion_right) == (gained, lost)
    assert found.p_value == pytest.approx(binom.sf(lost - 1, gained + lost, 0.5))
    assert (found.p_value <= SIGNIFICANCE) == worse


def test_files_that_agree_are_not_worse() -> None:
    labels = np.zeros(9, np.int64)
    assert mcnemar_test(labels, labels, labels).p_value == 1


def test_a_refused_promotion_changes_nothing(own_promoted: Path, command: Command) -> None:
    (own_promoted / "mine.mlmodel").write_bytes(b"somebody's work")
    arguments = ("--output", "mine.mlmodel", "--max-bytes", "1000")
    messages = ("was not written by a promotion", "above --max-bytes 1,000")
    before = snapshot(own_promoted)
    dry = command("conversion.promote", *arguments, "--dry-run", "--json")
    assert dry.code == 3
    assert dry.json["decision"] == "refused"
    assert snapshot(own_promoted) == before

    before = snapshot(own_promoted, but=REFUSAL_TAGS)
    place = artifacts(own_promoted, champion(own_promoted) or 0, NAME)
    evidence = (place / "promotion.json").read_bytes()
    found = command("conversion.promote", *arguments)
    assert found.code == 3
    assert all(message in found.error for message in messages)
    assert snapshot(own_promoted, but=REFUSAL_TAGS) == before
    tags = client_of(own_promoted).get_model_version(NAME, str(champion(own_promoted))).tags
    assert all(message in tags["refused_reasons"] for message in messages)
    assert (place / "promotion.json").read_bytes() == evidence
    *_, report = sorted((place / "refused").iterdir())
    recorded = json.loads((report / "promotion.json").read_text())
    assert recorded["decision"] == "refused"
    assert len(recorded["reasons"]) == len(messages)
    assert "Refused" in (report / "promotion.html").read_text()


def test_a_refusal_as_json(own_store: Path, command: Command) -> None:
    found = command("conversion.promote", "--max-bytes", "1000", "--json")
    assert found.code == 3
    assert verdicts(found.json) == {
        "verification": "passed",
        "test accuracy": "not asked",
        "better than guessing": "not judged",
        "size": "failed",
        "accuracy loss": "passed",
        "contract": "no champion",
        "champion": "no champion",
        "place": "passed",
    }
    assert "above --max-bytes 1,000" in found.error
    assert found.json["report"].startswith("refused/")


def test_what_needs_no_test_image_costs_no_look(own_promoted: Path, command: Command) -> None:
    tracker = Tracker(f"sqlite:///{own_promoted / 'mlflow.db'}", create=False)
    digest = datasets.load("mnist5k").digest
    (own_promoted / "mine.mlmodel").write_bytes(b"somebody's work")
    before = len(tracker.test_access.looks(digest))
    arguments = ("--max-bytes", "1", "--min-accuracy", "1", "--output", "mine.mlmodel")
    found = command("conversion.promote", *arguments, "--json")
    assert found.code == 3
    assert found.json["test_look"] is None
    unjudged = ("better than guessing", "champion", "test accuracy")
    assert {verdicts(found.json)[name] for name in unjudged} == {"not judged"}
    assert not {"test_accuracy", "test_images"} & found.json.keys()
    assert found.json["val_accuracy"] == found.json["parity"][0]["file_accuracy"]
    assert [part["split"] for part in found.json["parity"]] == ["val"]
    page = Path(found.json["page"]).read_text()
    assert "not judged" in page
    assert "The test images were not used." in page
    assert len(tracker.test_access.looks(digest)) == before
    forced = command("conversion.promote", "--max-bytes", "1", "--force", "--reason", "a test", "--dry-run", "--json")
    assert forced.code == 0, forced.err
    assert "not judged" not in verdicts(forced.json).values()
    assert len(tracker.test_access.looks(digest)) == before + 1


@pytest.mark.parametrize(
    ("counts", "correct", "verdict", "words"),
    [
        ((50, 50), 0, "failed", "not significantly above 0.5000, the share of the largest class"),
        ((50, 50), 58, "failed", "too small to tell, it takes 59 right of 100"),
        ((50, 50), 59, "passed", "right on 59 of 100 test images, significantly above 0.5000"),
        ((90, 10), 90, "failed", "not significantly above 0.9000"),  # always the largest class
        ((90, 10), 97, "passed", "significantly above 0.9000"),
        ((1,) * 9, 3, "failed", "too small to tell, it takes 4 right of 9"),
        ((1,) * 9, 4, "passed", "significantly above 0.1111"),
        ((8, 1), 9, "not checkable", "9 test images, 8 of them of one class, are too few"),
        ((9, 0), 9, "not checkable", "9 test images, 9 of them of one class, are too few"),
        ((1, 1), 2, "not checkable", "2 test images, 1 of them of one class, are too few"),
    ],
)
def test_better_than_guessing(counts: tuple[int, ...], correct: int, verdict: str, words: str) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    answers = np.where(np.arange(len(labels)) < correct, labels, (labels + 1) % len(counts))
    probabilities = np.eye(len(counts), dtype=np.float32)[answers]
    evaluation = evaluate(probabilities, labels, tuple("abcdefghi"[: len(counts)]))
    parity = Parity("test", len(labels), 0.0, 0.0, 0, (), correct / len(labels), correct / len(labels))
    evidence = Evidence("", 0, "mlmodel", "none", 13, (), original=(parity,), test_evaluation=evaluation)
    found = _guessing(evidence)
    assert found.verdict == verdict
    assert words in found.finding
    assert "exact one-sided binomial test" in found.finding
    assert "level 0.05" in found.finding
    p_value = binom.sf(correct - 1, len(labels), max(counts) / len(labels))
    assert found.figures["p_value"] == pytest.approx(p_value)
    decision = Decision((found,))
    assert decision.outcome == ("promoted" if verdict == "passed" else "refused")
    assert Decision((found,), "a person knows better").outcome == ("promoted" if verdict == "passed" else "forced")


@pytest.mark.slow
def test_a_file_that_is_wrong_on_every_test_image_is_refused(tmp_path: Path, command: Command) -> None:
    """It agrees with its model, and every other criterion is met."""
    random, labels = np.random.default_rng(0), np.arange(160) % 2
    images = random.integers(0, 90, (160, 16, 16, 1), dtype=np.uint8)
    images[labels == 1] += 160
    parts = {"train": slice(100), "val": slice(100, 130), "test": slice(130, 160)}
    arrays = {f"x_{name}": images[part] for name, part in parts.items()}
    arrays |= {f"y_{name}": (1 - labels if name == "test" else labels)[part] for name, part in parts.items()}
    np.savez(tmp_path / "wrong.npz", **arrays)
    small = ("--architecture", "malireddi", "--filters", "4", "--epochs", "10", "--batch-size", "10")
    trial = command("search.trial", "--dataset", "npz:wrong.npz", *small, "--json")
    assert trial.code == 0, trial.err
    found = command("conversion.promote", "--run", trial.json["run_id"][:10], "--json")
    assert found.code == 3, found.err
    assert found.json["val_accuracy"] > 0.9
    assert found.json["test_accuracy"] < 0.1
    assert verdicts(found.json)["better than guessing"] == "failed"
    (reason,) = found.json["reasons"]
    assert "of 30 test images, not significantly above 0.5000" in reason
    assert not (tmp_path / "ios").exists()


def test_a_refused_run_is_not_registered(own_store: Path, swept: Swept, command: Command) -> None:
    client = client_of(own_store)
    client.delete_registered_model(NAME)
    run_id = swept.result["leaderboard"][0]["run_id"]
    found = command("conversion.promote", "--run", run_id, "--max-bytes", "1000", "--json")
    assert found.code == 3
    assert client.search_registered_models() == []
    (output,) = client.get_run(run_id).outputs.model_outputs
    place = Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))
    assert json.loads((place / found.json["report"] / "promotion.json").read_text())["run_id"] == run_id


def test_a_worse_file_does_not_replace_the_champion(own_promoted: Path, swept: Swept, command: Command) -> None:
    before = snapshot(own_promoted, but=REFUSAL_TAGS)
    worse = swept.result["leaderboard"][1]["version"]
    found = command("conversion.promote", "--version", worse, "--json")
    assert found.code == 3
    (figures,) = (each["figures"] for each in found.json["gate"] if each["name"] == "champion")
    lost, gained = figures["only_champion_right"], figures["only_candidate_right"]
    assert figures["p_value"] == pytest.approx(binom.sf(lost - 1, lost + gained, 0.5))
    assert figures["champion_test_accuracy"] - figures["test_accuracy"] == pytest.approx((lost - gained) / 500)
    for text in (f"right on {gained}", f"wrong on {lost}", "significantly worse", "McNemar", "level 0.05"):
        assert text in found.error
    assert snapshot(own_promoted, but=REFUSAL_TAGS) == before


def damaged(folder: Path) -> None:
    file = artifacts(folder, 1) / DEFAULT_OUTPUT.name
    file.write_bytes(file.read_bytes()[:-1])


def missing(folder: Path) -> None:
    (artifacts(folder, 1) / DEFAULT_OUTPUT.name).unlink()


def other_record(folder: Path) -> None:
    client_of(folder).set_model_version_tag(NAME, str(champion(folder)), "coreml_sha256", "0" * 64)


@pytest.mark.parametrize("harm", [damaged, missing, other_record])
def test_a_champion_that_cannot_be_checked_is_an_error(own_promoted: Path, harm: Callable) -> None:
    tracker = Tracker(f"sqlite:///{own_promoted / 'mlflow.db'}", create=False)
    assert load_champion(tracker, NAME)
    harm(own_promoted)
    with pytest.raises(ProjectError):
        load_champion(tracker, NAME)


def test_a_champion_that_cannot_be_checked_is_not_skipped(own_promoted: Path, command: Command) -> None:
    damaged(own_promoted)
    found = command("conversion.promote", "--dry-run", "--json")
    assert found.code == 3
    assert verdicts(found.json)["champion"] == verdicts(found.json)["contract"] == "failed"


def test_a_champion_that_is_lost_can_be_replaced_by_force(own_promoted: Path, command: Command) -> None:
    missing(own_promoted)
    forced = command("conversion.promote", "--force", "--reason", "its file is lost", "--json")
    assert forced.code == 0, forced.err
    assert (forced.json["decision"], forced.json["previous_promotion"]) == ("forced", 1)
    tracker = Tracker(f"sqlite:///{own_promoted / 'mlflow.db'}", create=False)
    assert load_champion(tracker, NAME).current == Current(forced.json["version"], 2)  # to be compared with again


def change_champion(folder: Path, change: Callable[[Any], None]) -> None:
    """Make the champion's file, and its record, another one."""
    client = client_of(folder)
    file = artifacts(folder, 1) / DEFAULT_OUTPUT.name
    spec = coremltools.utils.load_spec(str(file))
    change(spec)
    file.write_bytes(spec.SerializeToString())
    digest = sha256(file.read_bytes()).hexdigest()
    client.set_model_version_tag(PROMOTIONS, "1", "coreml_sha256", digest)
    client.set_model_version_tag(NAME, str(champion(folder)), "coreml_sha256", digest)


def scale(spec: Any) -> None:
    spec.neuralNetworkClassifier.preprocessing[0].scaler.channelScale = 1 / 128


def labels(spec: Any) -> None:
    names = spec.neuralNetworkClassifier.stringClassLabels.vector
    names[:] = [*names[1:], names[0]]


def input_name(spec: Any) -> None:
    coremltools.utils.rename_feature(spec, "image", "picture")


def preprocessing(spec: Any) -> None:
    spec.description.metadata.userDefined["preprocessing_version"] = "0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale, "image scale is 0.003921569, not 0.0078125"),
        (labels, "labels is 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, not 1, 2"),
        (input_name, "input name is image, not picture"),
        (preprocessing, "preprocessing version is 1, not 0"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_contract_of_the_champion_is_kept(
    own_promoted: Path, promoted: Promoted, change: Callable, message: str
) -> None:
    interface = runtime.load(promoted.folder / DEFAULT_OUTPUT).interface
    change_champion(own_promoted, change)
    found = _contract(interface, load_champion(Tracker(f"sqlite:///{own_promoted / 'mlflow.db'}"), NAME))
    assert found.verdict == "failed"
    assert f"would break: {message}" in found.finding


def test_a_champion_of_another_contract_is_not_compared(own_promoted: Path, command: Command) -> None:
    change_champion(own_promoted, scale)
    found = command("conversion.promote", "--dry-run", "--json")
    assert found.code == 3
    assert verdicts(found.json)["contract"] == "failed"
    assert verdicts(found.json)["champion"] == "failed"  # not compared is not passed


def test_a_champion_of_other_data_is_compared_and_said_to_be(own_promoted: Path, command: Command) -> None:
    def other_data(spec: Any) -> None:
        spec.description.metadata.userDefined["dataset_digest"] = "f" * 64

    change_champion(own_promoted, other_data)
    found = command("conversion.promote", "--dry-run", "--json")
    assert found.code == 0, found.err
    assert "trained on other data (ffffffffffff)" in finding(found.json, "champion")


@pytest.mark.parametrize(
    "arguments", [["--force"], ["--reason", "so"], ["--force", "--reason", ""], ["--force", "--reason", "  "]]
)
def test_force_and_reason_go_together(own_store: Path, arguments: list[str], command: Command) -> None:
    found = command("conversion.promote", *arguments)
    assert found.code == 2
    assert "--reason TEXT" in found.error


def test_force_is_recorded_with_its_reason(own_promoted: Path, command: Command) -> None:
    forced = ("--max-bytes", "1000", "--force", "--reason", "the <new> app takes it")
    made = command("conversion.promote", *forced, "--json")
    assert made.code == 0, made.err
    assert (made.json["decision"], made.json["forced_reason"]) == ("forced", "the <new> app takes it")
    assert verdicts(made.json)["size"] == "failed"
    client = client_of(own_promoted)
    for name, number in ((NAME, champion(own_promoted)), (PROMOTIONS, made.json["promotion"])):
        tags = client.get_model_version(name, str(number)).tags
        assert (tags["promotion"], tags["forced_reason"]) == ("forced", "the <new> app takes it")
        assert "above --max-bytes 1,000" in tags["promotion_reasons"]
    assert "the &lt;new&gt; app" in (artifacts(own_promoted, made.json["promotion"]) / "promotion.html").read_text()
    assert command("conversion.promote").code == 0
    tags = client.get_model_version(NAME, str(champion(own_promoted))).tags
    assert (tags["promotion"], tags["promotion_reasons"], tags["forced_reason"]) == ("promoted", "none", "none")


def test_a_file_that_cannot_be_read_is_replaced_by_force(own_promoted: Path, command: Command) -> None:
    """A Git LFS pointer, as in a clone without its large files."""
    place = own_promoted / DEFAULT_OUTPUT
    place.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 21207\n")
    assert command("conversion.promote").code == 3
    forced = command("conversion.promote", "--force", "--reason", "a pointer", "--json")
    assert forced.code == 0, forced.err
    assert command("conversion.promote", "--check").code == 0


def test_a_dry_run_changes_nothing(own_store: Path, command: Command) -> None:
    before = snapshot(own_store)
    found = command("conversion.promote", "--dry-run")
    assert found.code == 0, found.err
    assert "Would promote" in found.out
    assert snapshot(own_store) == before


@pytest.mark.parametrize(  # in another place: test_a_refused_promotion_changes_nothing
    "name", [pytest.param("DigitClassifier.mlmodel", marks=pytest.mark.slow), "DigitClassifier.mlpackage"]
)
def test_a_file_that_is_not_ours_is_left_alone(own_store: Path, name: str, command: Command) -> None:
    foreign = own_store / DEFAULT_OUTPUT.with_name(name)
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's work")
    before = snapshot(own_store, but=REFUSAL_TAGS)
    found = command("conversion.promote")
    assert found.code == 3
    assert "was not written by a promotion" in found.error
    assert snapshot(own_store, but=REFUSAL_TAGS) == before


def test_force_overwrites_a_file_that_is_not_ours(own_store: Path, promoted: Promoted, command: Command) -> None:
    foreign = own_store / DEFAULT_OUTPUT
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's work")
    other = foreign.with_suffix(".mlpackage")
    other.mkdir()
    assert command("conversion.promote", "--force", "--reason", "a template's file").code == 0
    assert runtime.load(foreign).interface == runtime.load(promoted.folder / DEFAULT_OUTPUT).interface
    assert not other.exists()  # Xcode cannot hold two forms of one name
    assert shipped(own_store) == (artifacts(own_store, 1) / foreign.name).read_bytes()
