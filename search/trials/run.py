"""What a trial's run and its file are made of."""

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
    """What a trial is trained with; `values` are the point that it drew."""
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
    """Facts of the file that a run would ship; accuracy and threshold, of a fixed length, are not known yet."""
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
