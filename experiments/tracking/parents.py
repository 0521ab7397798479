"""The runs of sweeps: start, resume and update them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.tracking.guard import unless_missing
from experiments.tracking.inputs import as_dataset_input, log_input
from experiments.tracking.mlflow_pages import NOTE
from experiments.tracking.source import source_tags
from experiments.tracking.store import Store, quoted
from experiments.tracking.writer import LONGEST_TAG, Writer

EXPECTED = ("expected_accuracy", "expected_accuracy_low", "expected_accuracy_high")  # metrics of a sweep's run
EXPECTED_OF = "expected_accuracy_of"  # tag: the trial's run that these metrics are about


class Parents:
    """The runs of sweeps, the parents of their trials' runs."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store, self._client = store, store.client
        self._writer = writer

    def start(
        self,
        experiment_id: str,
        study: str,
        params: Mapping[str, str],
        *,
        dataset: Mapping[str, str],
        warm_start: str = "",
    ) -> str:
        """Start the parent run of a new study; its parameters are the sweep's configuration.

        If a sweep was killed before it had created its study, its RUNNING parent is reused.

        Args:
            experiment_id: of the run.
            dataset: MLflow's dataset input, as `dataset_facts` gives it.
            warm_start: the trials of earlier studies that it starts from, as its tag `warm_started_from`.
        """
        found = self._client.search_runs(
            [experiment_id], f"tags.study = {quoted(study)} and tags.sweep = 'parent' and status = 'RUNNING'"
        )
        if found:
            run_id = found[0].info.run_id
        else:
            tags = source_tags() | {"study": study, "sweep": "parent"}
            run_id = self._client.create_run(experiment_id, run_name=study, tags=tags).info.run_id
        self._store.log(run_id, params=params)
        if warm_start:
            self._client.set_tag(run_id, "warm_started_from", warm_start[:LONGEST_TAG])
        log_input(self._client, run_id, as_dataset_input(dataset))
        return run_id

    def resume(self, run_id: str, *, dataset: Mapping[str, str]) -> None:
        """Set a parent run back to RUNNING, and add its dataset input if it is older than that feature."""
        self._writer.reopen(run_id)
        log_input(self._client, run_id, as_dataset_input(dataset))

    def describe(self, run_id: str, description: str, metrics: Mapping[str, float], *, expected_of: str = "") -> None:
        """Update a sweep's run: its description in Markdown, and the figures that have changed.

        Args:
            description: of the run's page, in Markdown.
            metrics: its figures by name, including `trials`: the step at which the others are logged.
            expected_of: the run that the figures of EXPECTED are about; empty: there are none, and recorded ones are
                set to NaN, because MLflow cannot delete metrics.

        Call this under the study's lock: a slower sweep must not overwrite newer figures with older ones.
        """
        from mlflow.entities import Metric, RunTag

        now, step = int(time.time() * 1000), int(metrics["trials"])
        held = self._client.get_run(run_id).data
        found, tags = dict(metrics), [RunTag(NOTE, description)]
        if not expected_of:
            found |= {name: math.nan for name in EXPECTED if math.isfinite(held.metrics.get(name, math.nan))}
        if expected_of != held.tags.get(EXPECTED_OF, ""):
            tags.append(RunTag(EXPECTED_OF, expected_of))
        changed = [Metric(key, value, now, step) for key, value in found.items() if held.metrics.get(key) != value]
        self._client.log_batch(run_id, changed, tags=tags)

    def expected_accuracy(self, parent: str | None, run_id: str) -> ExpectedAccuracy | None:
        """Return the expected accuracy of a run on new images, if it is the best of the sweep with the run `parent`."""
        if parent:
            with unless_missing():
                held = self._client.get_run(parent).data
                if held.tags.get(EXPECTED_OF) == run_id:
                    return ExpectedAccuracy(*(held.metrics[name] for name in EXPECTED))
        return None
