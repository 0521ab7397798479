"""Convert a trial to a run's configuration and the facts of its file."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial

from conversion.coreml.facts import FileFacts
from experiments.config import RunConfig
from experiments.datasets import Dataset, reading_of
from experiments.tracking import git_commit
from search.config import SweepConfig
from search.space import Values


def run_config(sweep: SweepConfig, trial: optuna.Trial | FrozenTrial, values: Values) -> RunConfig:
    """Return what a trial is trained with; `values` are the suggested ones."""
    return RunConfig(
        dataset=sweep.dataset,
        epochs=sweep.epochs,
        seed=trial.user_attrs.get("seed", sweep.seed),
        precision=sweep.precision,
        compress=sweep.compress,
        objective=sweep.objective,
        views=sweep.views,
        **vars(values),
    )


def file_facts(dataset: Dataset, config: RunConfig, run_id: str, study: str = "") -> FileFacts:
    """Return the facts of a run's file. Accuracy and threshold, of fixed length, are filled in later."""
    return FileFacts(
        class_names=dataset.class_names,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        architecture=config.architecture,
        run_id=run_id,
        study=study,
        git_commit=git_commit(),
        val_accuracy=0.0,
        threshold=0.0,
        **reading_of(config.dataset),
    )
