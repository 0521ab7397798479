"""Who owns a trial: one that was silent for too long writes no more, and the next attempt starts a run of its own."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from experiments.tracking import OwnershipLost
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture
from search.study.lifecycle import TRANSITIONS, AskedTrial, Lifecycle
from search.study.pruning import PAUSED_AT
from search.study.study import Study
from tests.support.stopped_at import silence

CONFIG = SweepConfig(
    "sqlite:///mlflow.db", "shared", trials=3, epochs=2, architectures=("pocket",), filters=(4,), batch_sizes=(64,)
)
KNOWN = (KnownArchitecture("pocket", 8, 0.1, None),)


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study that one sweep has made."""
    monkeypatch.chdir(tmp_path)
    made = Study(CONFIG)
    made.create(CONFIG, "0" * 32, "digest", [])
    return made


@pytest.fixture
def taken(first: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[AskedTrial, Study]:
    """A trial that the first sweep asked for on another host, where it may live, and the sweep that took it over."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "node", lambda: "elsewhere")
        asked = first.trials.ask(KNOWN, "worker")
    assert asked
    assert silence(tmp_path)
    second = Study(CONFIG)
    second._open.patient.answered_since -= 3600
    assert [trial.number for trial in second.trials.take_over()] == [asked.trial.number]
    return asked, second


def test_what_was_taken_over_is_not_written_to(first: Study, taken: tuple[AskedTrial, Study]) -> None:
    asked, second = taken
    number = asked.trial.number
    written: list[FrozenTrial] = []
    with pytest.raises(OwnershipLost, match="was taken over by another sweep"):
        first.trials.owned(number, written.append)
    assert written == []
    with pytest.raises(OwnershipLost):
        first.trials.tell(number, TrialState.FAIL, run_id="0" * 32)
    assert not first.trials.owns(number)
    assert second.trials.owns(number)


def test_the_run_of_who_may_still_write_is_fenced_off(taken: tuple[AskedTrial, Study]) -> None:
    asked, second = taken
    second.trials.requeue(asked.trial.number)
    again = second.trials.ask(KNOWN, "worker")
    assert again
    assert again.trial.number == asked.trial.number
    assert (asked.attempt, asked.fenced) == (1, 0)
    assert again.fenced == asked.attempt < again.attempt


def test_trials_change_their_states_as_the_table_of_transitions_says(
    first: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way is taken once, and no other one was: states as the storage holds them before and after each call."""
    seen: set[tuple[str, TrialState | None, TrialState]] = set()

    def state(number: int) -> TrialState | None:
        trials = first.optuna_study.get_trials(deepcopy=False)
        return trials[number].state if number < len(trials) else None

    def taken(by: str, number: int, act: Callable[[], object]) -> None:
        before = state(number)
        act()
        after = state(number)
        assert after is not None
        seen.add((by, before, after))

    trials = first.trials
    first.config = halves = replace(CONFIG, pruner="halving", epochs=6)
    taken("ask", 0, lambda: trials.ask(KNOWN, "worker"))
    taken("requeue", 0, lambda: trials.requeue(0))
    taken("ask", 0, lambda: trials.ask(KNOWN, "worker"))
    taken("requeue", 0, lambda: trials.requeue(0))
    taken("adopt", 0, lambda: trials.adopt(0))
    trials.claims._held.clear()  # as of a process that is gone
    taken("take_over", 0, trials.take_over)
    taken("tell", 0, lambda: trials.tell(0, TrialState.FAIL, run_id="0" * 32))
    for number in (1, 2):
        first.optuna_study.enqueue_trial({"architecture": "pocket", "batch_size": 64, "filters": 4, "dropout": 0.1})
        asked = trials.ask(KNOWN, "worker")
        assert asked
        assert asked.trial.number == number
        first.facts.record_size(asked.trial, {"coreml_bytes": 2_000})
        if number == 1:
            pause(asked, trials)
    assert trials.adopt_paused() is None  # while another one runs
    taken("tell", 2, lambda: trials.tell(2, TrialState.COMPLETE, 0.9, run_id="0" * 32))
    first.config = replace(halves, trials=4)
    assert trials.adopt_paused() is None  # while another one may start
    first.config = halves
    taken("adopt_paused", 1, trials.adopt_paused)
    taken("tell", 1, lambda: trials.tell(1, TrialState.PRUNED, run_id="0" * 32))
    assert trials.adopt_paused() is None
    expected = {(one.by, one.before, after) for one in TRANSITIONS for after in one.after}
    assert seen == expected


def pause(asked: AskedTrial, trials: Lifecycle) -> None:
    asked.trial.report(0.5, 1)
    asked.trial.set_user_attr(PAUSED_AT, 1)
    trials.requeue(asked.trial.number, run_id="0" * 32)


def test_a_paused_trial_is_not_pruned_while_a_later_sweep_wants_more(first: Study) -> None:
    first.optuna_study.enqueue_trial({"architecture": "pocket", "batch_size": 64, "filters": 4, "dropout": 0.1})
    asked = first.trials.ask(KNOWN, "worker")
    assert asked
    first.facts.record_size(asked.trial, {"coreml_bytes": 2_000})
    pause(asked, first.trials)
    first.config = replace(CONFIG, trials=1)
    assert first.trials.paused() == [0]
    assert first.trials.adopt_paused() is None  # three are recorded
    first.go_on()
    adopted = first.trials.adopt_paused()
    assert adopted is not None
    first.trials.requeue(0, run_id="")
    assert first.trials.paused() == []  # its run is gone: it is tried again
    assert [trial.number for trial in first.trials.interrupted()] == [0]
