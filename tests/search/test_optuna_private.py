"""What `search/study/optuna_private.py` uses of Optuna: each of these tests fails where Optuna changes it."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.optuna_private import CALLS_OF_THE_CACHE, LeanStorage, cached, silent, take_search_space

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def changed(what: str) -> str:
    return f"Optuna {optuna.__version__} has changed {what}: mend search/study/optuna_private.py"


def storage_in(folder: Path, grace_period: int = 60) -> LeanStorage:
    return LeanStorage(f"sqlite:///{folder}/optuna.db", {}, heartbeat_interval=1, grace_period=grace_period)


@pytest.fixture
def storage(tmp_path: Path) -> LeanStorage:
    return storage_in(tmp_path)


def test_the_cache_calls_these_private_methods_and_no_others(storage: LeanStorage) -> None:
    cache = inspect.getsource(type(cached(storage)))
    called = {name for name in dir(RDBStorage) if name.startswith("_") and f"self._backend.{name}(" in cache}
    unused = {"_get_best_trial_id"}  # a sweep ranks its trials itself
    assert called - unused == set(CALLS_OF_THE_CACHE), changed("what its cache calls of a storage")


def test_what_a_subclass_overrides_is_as_it_was() -> None:
    ours, theirs = (
        [(each.name, each.kind) for each in inspect.signature(made._get_trials).parameters.values()]
        for made in (LeanStorage, RDBStorage)
    )
    assert ours == theirs, changed("RDBStorage._get_trials")


def test_a_storage_is_cached(storage: LeanStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended trials are read once."""
    made = cached(storage)
    study = optuna.create_study(storage=made)
    for _ in range(3):
        study.add_trial(optuna.trial.create_trial(value=0.5))
    study.get_trials()
    built: list[int] = []
    read = RDBStorage._get_trials

    def noted(*arguments: object) -> list[FrozenTrial]:
        found = read(*arguments)  # type: ignore[arg-type]
        built.extend(trial.number for trial in found)
        return found

    monkeypatch.setattr(RDBStorage, "_get_trials", noted)
    assert len(study.get_trials()) == 3
    assert built == [], changed("its cache, which reads ended trials again")
    assert made is cached(made), changed("get_storage, which puts a cache in front of a cache")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_trials_without_a_heartbeat_are_found_and_stay_as_they_are(tmp_path: Path) -> None:
    storage = storage_in(tmp_path, grace_period=1)
    study = optuna.create_study(study_name="night", storage=storage)
    dead, alive, _ = study.ask(), study.ask(), study.ask()
    study_id = storage.get_study_id_from_name("night")
    first, second = (storage.get_trial_id_from_study_id_trial_number(study_id, each.number) for each in (dead, alive))
    storage.record_heartbeat(first)
    time.sleep(2.5)  # the database counts in seconds
    storage.record_heartbeat(second)
    assert silent(storage, study_id) == {dead.number}, changed("RDBStorage._get_stale_trial_ids")
    assert {trial.state for trial in study.get_trials()} == {TrialState.RUNNING}


def looked_at(sampler: TPESampler, study: optuna.Study, patch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of the trials whose distributions a sampler looks at to find the search space of the next trial."""
    seen: set[int] = set()
    distributions = FrozenTrial.distributions.fget  # type: ignore[attr-defined]

    def noted(trial: FrozenTrial) -> object:
        seen.add(trial.number)
        return distributions(trial)

    study.ask()
    with patch.context() as patched:
        patched.setattr(FrozenTrial, "distributions", property(noted))
        assert list(sampler.infer_relative_search_space(study, study.get_trials()[-1])) == ["x"]
    return seen


def test_a_search_space_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    first, second, fresh = (TPESampler(multivariate=True, seed=seed) for seed in range(3))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    assert looked_at(first, study, monkeypatch) == {0, 1, 2, 3, 4}
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    take_search_space(second, first)
    assert looked_at(second, study, monkeypatch) == {6}, changed("TPESampler's search space: reuse saves nothing")
    assert looked_at(fresh, study, monkeypatch) == {0, 1, 2, 3, 4, 6}


def test_other_samplers_keep_theirs() -> None:
    take_search_space(optuna.samplers.RandomSampler(), TPESampler())
    take_search_space(TPESampler(), None)


def test_a_state_and_an_attribute_are_read_from_the_tables(storage: LeanStorage) -> None:
    study = optuna.create_study(study_name="night", storage=storage)
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={"owner": "ann", "other": 1}))
    trial_id = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name("night"), 0)
    tables = changed("its tables")
    assert storage.state_and_attribute(trial_id, "owner") == (TrialState.WAITING, "ann"), tables
    assert storage.state_and_attribute(trial_id, "seed") == (TrialState.WAITING, None), tables
