"""What to expect of the best of a sweep: chance is taken off, and what is stated is what new images show."""

from __future__ import annotations

import tracemalloc

import numpy as np
import optuna
import pytest
from optuna.trial import create_trial

from experiments.evaluation import expected as module
from experiments.evaluation.expected import RESAMPLES, ResampledEpochs, expected_accuracy
from experiments.evaluation.intervals import accuracy_interval
from search.config import SweepConfig
from search.study.results import DUPLICATE_OF, REPLICATE_OF, RESAMPLED, Results

IMAGES, TRIALS, EPOCHS = 500, 12, 10


def resampled(right: np.ndarray) -> list[list[list[int]]]:
    """Of answers (trials, epochs, images)."""
    found = []
    for trial in right:
        epochs = ResampledEpochs(right.shape[-1])
        for epoch in trial:
            epochs.add(epoch)
        found.append(epochs.resampled.tolist())
    return found


def test_equal_networks_owe_their_best_to_luck_alone() -> None:
    """Each answers each image right with the same chance: whichever is chosen, new images show that chance."""
    chance = 0.9
    reached, expected, covered, before = [], [], [], []
    for seed in range(40):
        right = np.random.default_rng(seed).random((TRIALS, EPOCHS, IMAGES)) < chance
        best = float(right.mean(axis=2).max())
        found = expected_accuracy(best, IMAGES, resampled(right))
        low, high = accuracy_interval(best * IMAGES, IMAGES)
        reached.append(best)
        expected.append(found.expected_accuracy)
        covered.append(found.expected_accuracy_low <= chance <= found.expected_accuracy_high)
        before.append(low <= chance <= high)
    assert np.mean(reached) - chance > 0.03  # the curse
    assert abs(np.mean(expected) - chance) < 0.5 * (np.mean(reached) - chance)
    assert np.mean(before) < 0.5
    assert np.mean(covered) > 0.9


def test_one_that_is_far_ahead_owes_nothing_to_luck() -> None:
    random = np.random.default_rng(0)
    right = random.random((TRIALS, 1, IMAGES)) < 0.5
    right[3] = random.random((1, IMAGES)) < 0.95
    best = float(right[3].mean())
    found = expected_accuracy(best, IMAGES, resampled(right))
    assert found.expected_accuracy == pytest.approx(best, abs=0.002)
    assert found.expected_accuracy_low < found.expected_accuracy <= best < found.expected_accuracy_high


def test_a_training_that_goes_on_sums_up_as_if_it_had_never_stopped() -> None:
    right = np.random.default_rng(1).random((4, IMAGES)) < 0.8
    whole, first = ResampledEpochs(IMAGES), ResampledEpochs(IMAGES)
    for epoch in right:
        whole.add(epoch)
    for epoch in right[:2]:
        first.add(epoch)
    second = ResampledEpochs(IMAGES, first.resampled)
    for epoch in right[2:]:
        second.add(epoch)
    assert np.array_equal(second.resampled, whole.resampled)


@pytest.mark.parametrize("images", [1, 30, 500])
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.9])
def test_one_epoch_of_one_trial_was_not_chosen_and_keeps_its_accuracy(images: int, chance: float) -> None:
    for seed in range(20):
        right = np.random.default_rng(seed).random((1, 1, images)) < chance
        reached = float(right.mean())
        found = expected_accuracy(reached, images, resampled(right))
        assert found.expected_accuracy == reached
        assert (found.expected_accuracy_low, found.expected_accuracy_high) == accuracy_interval(right.sum(), images)


def test_luck_may_exceed_an_accuracy_and_does_not_bring_it_below_zero() -> None:
    """As of networks that each have one image right, another one each: the best of a resample has several there."""
    found = expected_accuracy(1 / 5, 5, resampled(np.eye(5, dtype=bool)[:, None]))
    assert found.expected_accuracy == 0
    assert found.expected_accuracy_low == pytest.approx(0)
    assert found.expected_accuracy_high < 1


def test_of_very_many_images_some_are_resampled_that_are_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a folder are sorted by their class."""
    monkeypatch.setattr(module, "MOST_IMAGES", 10)
    for images in (10, 12, 30, 1_000):
        epochs = ResampledEpochs(images)
        epochs.add(np.arange(images) < images / 2)
        inside, whole = epochs.resampled
        assert set(whole) == {5}
        assert inside.sum() == 5 * RESAMPLES


def test_resamples_take_little_memory() -> None:
    tracemalloc.start()
    epochs = ResampledEpochs(1_000_000)
    epochs.add(np.ones(1_000_000, bool))
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 22e6  # 100 counts of 50,000 images
    assert most < 45e6


def study_of(*attributes: dict[str, object], values: tuple[float, ...] = (0.9, 0.8)) -> optuna.Study:
    """Complete trials, each with some attributes."""
    study = optuna.create_study(direction="maximize")
    for number, more in enumerate(attributes):
        system = {name: held for name, held in more.items() if name == RESAMPLED}
        own = {"run_id": f"run{number}", "coreml_bytes": 1_000, **{key: more[key] for key in more.keys() - system}}
        drawn = optuna.distributions.FloatDistribution(0, 1)
        value = values[number % len(values)]
        study.add_trial(
            create_trial(
                params={"x": value}, distributions={"x": drawn}, value=value, user_attrs=own, system_attrs=system
            )
        )
    return study


def expected_of(study: optuna.Study, **options: object) -> tuple[str, float] | None:
    found = Results(study, SweepConfig("", "study", **options)).expected(100)
    return found and (found[0], round(found[1].expected_accuracy, 3))


LUCKY = {RESAMPLED: [[92, 94], [90, 90]]}  # three images of a hundred more than on all of them
LEVEL = {RESAMPLED: [[80, 80], [80, 80]]}


def test_all_trials_that_were_searched_count_and_no_others() -> None:
    assert expected_of(study_of(LUCKY, LEVEL)) == ("run0", 0.87)
    other = {RESAMPLED: [[99, 99], [80, 80]]}
    assert expected_of(study_of(LUCKY, LEVEL, {**other, REPLICATE_OF: 1}, {**other, DUPLICATE_OF: 1})) == ("run0", 0.87)


def test_nothing_is_said_where_a_trial_has_not_recorded_it_or_where_accuracy_is_no_objective() -> None:
    assert expected_of(study_of(LUCKY, {})) is None
    assert expected_of(optuna.create_study()) is None
    assert expected_of(study_of(LUCKY, LEVEL), objectives=("val_loss",)) is None
