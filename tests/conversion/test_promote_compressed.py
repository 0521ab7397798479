"""A compressed file is verified against its twin, and judged by what it costs against the model as it was trained."""

from __future__ import annotations

import json
from pathlib import Path

from conversion import runtime
from conversion.promotion.place import DEFAULT_OUTPUT
from experiments import datasets
from tests.support.commands import Command
from tests.support.promotions import artifacts, client_of


def test_what_compression_costs_is_shown(own_store: Path, command: Command) -> None:
    arguments = ("--compress", "palette2", "--max-accuracy-loss", "100", "--json")
    done = command("conversion.promote", *arguments)
    assert done.code == 0, done.err
    place = artifacts(own_store, done.json["promotion"])
    evidence = json.loads((place / "promotion.json").read_text())
    assert all(parity["label_flips"] == 0 for parity in evidence["parity"])
    flips = [flip for part in evidence["original"] for flip in part["flips"]]
    assert flips  # 2 bits cost something
    for part in evidence["original"]:
        split = getattr(datasets.load("mnist5k"), part["split"])
        answers = runtime.load(own_store / DEFAULT_OUTPUT).probabilities(split.images).argmax(axis=1)
        assert all(answers[flip["index"]] == flip["file_label"] != flip["model_label"] for flip in part["flips"])
    (loss,) = (each["figures"] for each in evidence["gate"] if each["name"] == "accuracy loss")
    before, after = loss["model_val_accuracy"], loss["val_accuracy"]
    assert round(loss["accuracy_loss"], 6) == round(100 * (before - after), 6)
    pictures = (place / "promotion.html").read_text().count('src="data:image/png;base64,')
    galleries = sum(bool(part["flips"]) for part in evidence["original"])
    assert pictures == galleries + len(evidence["test_evaluation"]["mistakes"])
    tags = client_of(own_store).get_model_version("mnist5k-classifier-coreml", str(done.json["promotion"])).tags
    assert tags["compression"] == "palette2"
    assert tags["parity"].startswith("verified: ")


def test_a_loss_above_the_limit_is_refused_with_its_figures(own_store: Path, command: Command) -> None:
    arguments = ("--compress", "palette2", "--max-accuracy-loss", "0", "--dry-run", "--json")
    found = command("conversion.promote", *arguments)
    (loss,) = (each for each in found.json["gate"] if each["name"] == "accuracy loss")
    lost = loss["figures"]["accuracy_loss"]
    assert loss["verdict"] == ("failed" if lost > 0 else "passed")
    assert found.code == (3 if lost > 0 else 0)
    assert f"{abs(lost):.2f} points" in loss["finding"]
