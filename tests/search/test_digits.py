"""Numbers that a sweep draws are those that a person would write, in the study and in the run alike."""

from __future__ import annotations

from decimal import Decimal

import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler

from search.study.digits import SIGNIFICANT_DIGITS, FewDigits
from tests.support.stores import Swept
from tests.support.sweeps import children_of, study_of


def digits(value: float) -> int:
    return len(Decimal(repr(value)).normalize().as_tuple().digits)


@pytest.mark.parametrize("inner", [RandomSampler(seed=1), TPESampler(seed=1, n_startup_trials=2, multivariate=True)])
def test_what_is_drawn_has_few_digits_and_what_is_given_stays(inner: optuna.samplers.BaseSampler) -> None:
    study = optuna.create_study(sampler=FewDigits(inner))
    study.enqueue_trial({"dropout": 0.123456789})
    for number in range(8):
        trial = study.ask()
        drawn = trial.suggest_float("dropout", 0.0, 0.5), trial.suggest_float("rate", 1e-7, 1.0, log=True)
        assert trial.suggest_int("filters", 1, 1_000_000) >= 1
        assert trial.suggest_categorical("name", ["a", "b"]) in "ab"
        assert trial.params["dropout"] == drawn[0]
        assert max(map(digits, drawn[number == 0 :])) <= SIGNIFICANT_DIGITS
        assert 0 <= drawn[0] <= 0.5
        study.tell(trial, drawn[0])
    assert study.trials[0].params["dropout"] == 0.123456789


def test_the_run_of_a_trial_records_what_was_drawn(swept: Swept) -> None:
    trials, runs = study_of(swept.folder, "small").trials, children_of(swept.folder, "small")
    for trial, run in zip(trials, runs, strict=True):
        assert run.data.params["dropout"] == repr(trial.params["dropout"])
        assert digits(trial.params["dropout"]) <= SIGNIFICANT_DIGITS


def test_optunas_own_pages_name_the_objective_and_the_sizes(swept: Swept) -> None:
    study = study_of(swept.folder, "small")
    assert study.metric_names == ["validation accuracy"]
    sizes = [key for key in study.user_attrs if key.startswith("size of ")]
    assert {key.split()[2].partition("-")[0] for key in sizes} == {"chollet", "malireddi"}
