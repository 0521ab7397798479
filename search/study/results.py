"""Results of a study's trials, and which of their models are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.evaluation.expected import expected_accuracy
from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.objective import score
from search.config import SweepConfig
from search.study.pruning import PAUSED_AT, Course
from search.study.ranking import Scored, front, front_of_objectives, ranked
from search.study.spans import covered, spans
from search.study.storage import storage_errors

REPLICATE_OF = "replicate_of"  # user attribute of a replicate: the number of the trial that it repeats
DUPLICATE_OF = "duplicate_of"  # user attribute of a trial that was not trained: the identical trial's number
WARM_START = "warm_start"  # user attribute of a warm-started trial: STUDY/TRIAL that it comes from
RESAMPLED = "balanced_resamples"  # system attribute, hidden from users: the counts of `evaluation.expected`
MODEL_ID = "model_id"  # user attribute of a trial whose model was kept
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
COURSE = "val_accuracies"  # user attribute with the objective by epoch, if Optuna stores no intermediate values

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Results:
    """Results of a study, read anew by each method."""

    study: optuna.Study
    config: SweepConfig

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        with storage_errors(self.config.storage):
            return self.study.get_trials(deepcopy=False, states=states or None)

    def searched(self) -> list[FrozenTrial]:
        """Return all trials except replicates."""
        return [trial for trial in self._trials() if REPLICATE_OF not in trial.user_attrs]

    def courses(self) -> list[Course]:
        """Return the courses of all complete trials except replicates."""
        complete = [trial for trial in self.searched() if trial.state == TrialState.COMPLETE and values_by_epoch(trial)]
        return [self.course(trial, values_by_epoch(trial)) for trial in complete]

    def course(self, trial: FrozenTrial, values: tuple[float, ...]) -> Course:
        """Return the course of a trial that has reached these values."""
        costs = tuple(float(trial.user_attrs[name]) for name in self.config.objectives[1:])
        return Course(costs, values, self.config.minimized)

    def counts(self) -> dict[str, int]:
        """Return the number of trials by outcome (complete, pruned, infeasible, fail), without replicates.

        If any are paused, these are counted too.
        """
        counts = dict.fromkeys(("complete", "pruned", "infeasible", "fail"), 0)
        for trial in self.searched():
            if trial.state.is_finished():
                counts[outcome(trial)] += 1
            elif is_paused(trial):
                counts["paused"] = counts.get("paused", 0) + 1
        return counts

    def seconds(self) -> float:
        """Return the total time in which trials ran; overlapping times count once."""
        found = [span for trial in self._trials(*ENDED) for span in spans(trial)]
        return round(covered(found).total_seconds(), 1)

    def best_value(self) -> float | None:
        """Return the best value of the objective so far."""
        return next((one.value for one in ranked(self._scored(), front_first=False)), None)

    def expected(self, images: int) -> tuple[str, ExpectedAccuracy] | None:
        """Return the expected accuracy of the best trial and its run, given the number of validation images.

        None if the objective is not accuracy, or if a trial was recorded before this was introduced.
        """
        complete = [one for one in self.searched() if one.state == TrialState.COMPLETE]
        trained = [one for one in complete if DUPLICATE_OF not in one.user_attrs]
        resampled = [one.system_attrs[RESAMPLED] for one in trained if RESAMPLED in one.system_attrs]
        if self.config.objective != "val_accuracy" or not trained or len(resampled) < len(trained):
            return None
        (best,) = self.best(1)
        return best.user_attrs["run_id"], expected_accuracy(best.values[0], images, resampled)

    def best(self, number: int) -> list[FrozenTrial]:
        """Return the best complete trials: by the first objective, then the smaller Core ML file, then the earlier one.

        With several objectives, those on the front come first. Of identical trials, the first one is returned.
        """
        best = ranked(self._scored(), front_first=len(self.config.objectives) > 1)[:number]
        trials = self._trials()
        return [trials[one.number] for one in best]

    def to_register(self) -> list[FrozenTrial]:
        """Return the trials whose models are kept, the best first."""
        keepers = self.keepers()
        return [trial for trial in self.best(len(self.searched())) if trial.number in keepers]

    def to_replicate(self) -> list[FrozenTrial]:
        """Return the best trials, and the best of each architecture, so that all can be compared."""
        chosen = self.best(self.config.keep)
        for trial in self.best(len(self.searched())):
            if all(one.params["architecture"] != trial.params["architecture"] for one in chosen):
                chosen.append(trial)
        return chosen

    def replicated(self) -> dict[int, dict[int, float]]:
        """Return the values of replicates by seed, for each replicated trial, the best first."""
        found: dict[int, dict[int, float]] = {}
        for trial in self._trials(TrialState.COMPLETE):
            if (number := trial.user_attrs.get(REPLICATE_OF)) is not None:
                found.setdefault(number, {})[trial.user_attrs["seed"]] = trial.values[0]
        best = [trial.number for trial in self.best(len(self.searched()))]
        return {number: found[number] for number in best if number in found}

    def same(self, trial: optuna.Trial) -> list[FrozenTrial]:
        """Return other trials with the same configuration; none for a replicate.

        Trained trials that have not failed come first, then earlier ones that are still running: a trial may wait for
        one of these, but two never wait for each other. Paused trials are left out, because they may wait long.
        """
        if REPLICATE_OF in trial.user_attrs:
            return []
        same = [one for one in self.searched() if one.params == trial.params and one.number != trial.number]
        known = (TrialState.COMPLETE, TrialState.PRUNED)
        trained = [
            one
            for one in same
            if one.state in known and DUPLICATE_OF not in one.user_attrs and "coreml_bytes" in one.user_attrs
        ]
        unfinished = [one for one in same if not one.state.is_finished() and not is_paused(one)]
        return trained + [one for one in unfinished if one.number < trial.number]

    def keepers(self, *more: Scored) -> set[int]:
        """Return the numbers of trials whose models are kept: the best, and the fronts of size and of the objectives.

        A trial that is not among them now will not be later. `more` are trials that the study has not been told about.
        """
        scored = [*self._scored(), *more]
        keepers = ranked(scored, front_first=False)[: self.config.keep] + front(scored) + front_of_objectives(scored)
        return {one.number for one in keepers}

    def kept(self) -> dict[int, str]:
        """Return the runs whose models are kept, by trial number."""
        keepers = self.keepers()
        return {trial.number: trial.user_attrs["run_id"] for trial in self._with_model() if trial.number in keepers}

    def superseded(self, settled: Collection[str]) -> dict[str, str]:
        """Return ids and runs of kept models that are no longer among the best, except for `settled` ones."""
        keepers = self.keepers()
        held = [trial.user_attrs for trial in self._with_model() if trial.number not in keepers]
        return {one[MODEL_ID]: one["run_id"] for one in held if one[MODEL_ID] not in settled}

    def _with_model(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials(TrialState.COMPLETE) if MODEL_ID in trial.user_attrs]

    def _scored(self) -> list[Scored]:
        trained = [one for one in self._trials(TrialState.COMPLETE) if DUPLICATE_OF not in one.user_attrs]
        distinct = {tuple(sorted(one.params.items())): one for one in reversed(trained)}
        return [self.scored(one.number, one.values, one.user_attrs["coreml_bytes"]) for one in distinct.values()]

    def scored(self, number: int, values: Sequence[float], coreml_bytes: int) -> Scored:
        """Return a trial's figures as this study ranks them; `values` are those of its objectives."""
        others = zip(self.config.objectives[1:], values[1:], strict=True)
        costs = tuple(-score(name, value) for name, value in others)
        return Scored(number, values[0], coreml_bytes, self.config.minimized, costs)


def outcome(trial: FrozenTrial) -> str:
    """Return how a trial ended: complete, pruned, infeasible or fail."""
    return "infeasible" if any(value > 0 for value in trial.constraints.values()) else trial.state.name.lower()


def in_words(outcome: str) -> str:
    """Return an outcome as people read it.

    >>> [in_words(outcome) for outcome in ("complete", "fail")]
    ['complete', 'failed']
    """
    return "failed" if outcome == "fail" else outcome


def counted(counts: Mapping[str, int]) -> str:
    """Return numbers of trials by outcome as people read them.

    >>> counted({"complete": 3, "fail": 0})
    '3 complete, 0 failed'
    """
    return ", ".join(f"{count} {in_words(outcome)}" for outcome, count in counts.items())


def is_paused(trial: FrozenTrial) -> bool:
    """Return whether a trial is paused at a rung. One that died while it was being paused is queued instead."""
    return trial.state == TrialState.WAITING and bool(trial.user_attrs.get("run_id")) and is_at_pause(trial)


def is_at_pause(trial: FrozenTrial) -> bool:
    """Return whether the study has decided to pause a trial after its last epoch, which MLflow may not have yet."""
    values = values_by_epoch(trial)
    return bool(values) and trial.user_attrs.get(PAUSED_AT) == len(values)


def values_by_epoch(trial: FrozenTrial) -> tuple[float, ...]:
    """Return a trial's objective by epoch, from the first."""
    return tuple(trial.user_attrs.get(COURSE) or (value for _, value in sorted(trial.intermediate_values.items())))
