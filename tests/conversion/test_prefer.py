"""`--prefer smallest`: the version taken, and how it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from architectures.errors import UsageError
from conversion.promotion.champion import SIGNIFICANCE
from conversion.promotion.config import PromoteConfig
from conversion.promotion.preference import _held_against
from experiments import datasets
from experiments.tracking import Tracker, VersionFacts
from tests.support.commands import Command
from tests.support.promotions import NAME, artifacts, client_of, snapshot


@pytest.mark.slow
def test_the_smallest_that_is_as_good_is_promoted(own_store: Path, command: Command) -> None:
    tracker = Tracker(f"sqlite:///{own_store / 'mlflow.db'}", create=False)
    labels = datasets.load("mnist5k").val.labels
    best = tracker.registry.best(NAME)
    other = next(one for one in tracker.registry.versions(NAME) if one.version != best.version)
    client = client_of(own_store)
    client.set_model_version_tag(NAME, str(other.version), "expected_coreml_bytes", "1000")
    right, theirs = (tracker.models.val_probabilities(run).argmax(1) == labels for run in (other.run_id, best.run_id))
    lost, discordant = int((theirs & ~right).sum()), int((theirs ^ right).sum())
    p_value = binom.sf(lost - 1, discordant, 0.5) if discordant else 1.0
    taken = other.version if p_value > SIGNIFICANCE else best.version
    made = command("conversion.promote", "--prefer", "smallest", "--json")
    assert made.code == 0, made.err
    assert made.json["version"] == taken
    told = made.json["preference"]
    assert (told["best"]["version"], told["taken"]["version"]) == (best.version, taken)
    (smaller,) = [one for one in told["smaller"] if one["version"] == other.version]
    assert smaller["comparison"]["p_value"] == pytest.approx(p_value)
    assert (told["significance_level"], told["images"]) == (0.05, 500)
    page = (artifacts(own_store, made.json["promotion"]) / "promotion.html").read_text()
    assert "the smallest that is as good" in page
    assert "level 0.05" in page
    shown = command("conversion.promote", "--prefer", "smallest", "--dry-run", "--force", "--reason", "a test")
    assert shown.out.startswith("Would promote ")
    assert f"\n--prefer smallest takes version {taken} of {NAME}" in shown.out
    assert "level 0.05" in shown.out


def test_a_model_that_is_clearly_worse_is_not_taken(own_store: Path, command: Command) -> None:
    """The best one's own file is the only one then: nothing is smaller."""
    client = client_of(own_store)
    best = Tracker(f"sqlite:///{own_store / 'mlflow.db'}", create=False).registry.best(NAME)
    client.set_model_version_tag(NAME, str(best.version), "expected_coreml_bytes", "1")
    shown = command("conversion.promote", "--prefer", "smallest", "--dry-run")
    assert shown.out.startswith("Would promote ")  # the answer; then why
    assert f"takes version {best.version} of {NAME}" in shown.out
    assert "which is both the best and the smallest" in shown.out


@pytest.mark.parametrize(("images", "wrong", "taken"), [(4, 0, False), (5, 0, True), (5, 4, True), (5, 5, False)])
def test_too_few_images_find_no_model_as_good(images: int, wrong: int, taken: bool) -> None:
    labels = np.zeros(images, np.int64)
    best = np.eye(2, dtype=np.float32)[labels]
    answers = np.eye(2, dtype=np.float32)[(np.arange(images) < wrong).astype(int)]
    version = VersionFacts("m", "r", "s", NAME, 1, (), {"expected_coreml_bytes": "9"})
    assert _held_against(best, version, answers, labels).as_good == taken


@pytest.mark.parametrize("other", [("--run", "x"), ("--version", "1")])
def test_one_model_is_named_or_preferred(other: tuple[str, str], own_store: Path, command: Command) -> None:
    before = snapshot(own_store)
    found = command("conversion.promote", "--prefer", "smallest", *other)
    assert found.code == 2
    assert "not allowed with" in found.error
    for options in ({"prefer": "smallest", "run_id": "r"}, {"prefer": "smallest", "version": 1}, {"prefer": "tiny"}):
        with pytest.raises(UsageError, match="prefer"):
            PromoteConfig("sqlite:///mlflow.db", **options)
    assert snapshot(own_store) == before
