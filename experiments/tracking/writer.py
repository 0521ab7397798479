"""Write the runs of a sweep and its trials while they are running."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from architectures.redaction import redact
from experiments.config import Environment, EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, reading_of
from experiments.tracking.inputs import as_dataset_input, dataset_facts, log_input
from experiments.tracking.models import Models
from experiments.tracking.records import ATTEMPT, HOST_LATENCY, LATENCY_BEFORE, ModelRecord, RunStart, run_record
from experiments.tracking.runs import Runs
from experiments.tracking.source import source_tags
from experiments.tracking.store import Store, quoted

NOT_DRAWN = "not_drawn"  # tag of a run: which parts of its report are missing, and why
NOT_DRAWN_FILE = "not_drawn.txt"  # tracebacks, next to the parts that could be made
LONGEST_TAG = 5_000  # characters: what every MLflow store takes
BEST = "best_val_accuracy"
LATENCY_TAG = "host_latency"  # tag of a run that explains its metric host_latency_ms
MAX_BATCH = 1_000  # metrics that MLflow accepts at once


class Writer:
    """Writes the runs of sweeps and trials."""

    def __init__(self, store: Store, runs: Runs, models: Models) -> None:
        self._store, self._client = store, store.client
        self._runs = runs
        self._models = models

    def start_run(self, start: RunStart) -> str:
        """Start a run and write its parameters, tags and data."""
        original = start.tags.get("replicate_of")
        if original and (found := self._runs.of_trial(start.tags["mlflow.parentRunId"], int(original))):
            self._client.set_tag(found[0].run_id, "replicated", "True")  # so that readers need not search
        run_id = self._client.create_run(start.experiment_id, run_name=start.name, tags=dict(start.tags)).info.run_id
        self._log_configuration(run_id, start)
        return run_id

    def resume_run(self, run_id: str, start: RunStart) -> int | None:
        """Set a run that was interrupted back to RUNNING.

        Returns:
            The last epoch that it has recorded. None if it was computed on another kind of processor, with other code
            or with another number of threads: its epochs would not continue bit for bit, so the run is deleted and a
            new one must be started. A run that ended as pruned is deleted, too: its final metrics are already written.
        """
        held = self._client.get_run(run_id).data
        tags, was_pruned = held.tags, BEST in held.metrics and "best_epoch" not in held.metrics
        if was_pruned or any(tags.get(key) != value for key, value in start.of_the_same_bits.items()):
            self._client.delete_run(run_id)
            return None
        self.reopen(run_id)
        for key in ("host", ATTEMPT):
            if tags.get(key) != start.tags.get(key, tags.get(key)):
                self._client.set_tag(run_id, key, start.tags[key])
        self._log_configuration(run_id, start)  # again: it may have been killed before it had them
        return self._runs.last_epoch(run_id)

    def discard_run(self, run_id: str) -> None:
        """Delete the run of an attempt that was given up, with its models: MLflow accepts no further writes to it.

        Repeating this changes nothing; its owner, which may still be writing to it, does the same once it notices.
        """
        experiment_id = self._client.get_run(run_id).info.experiment_id
        self._client.delete_run(run_id)
        models = self._client.search_logged_models([experiment_id], f"source_run_id = {quoted(run_id)}")
        for model in models:
            self._models.drop_model(model.model_id)

    def _log_configuration(self, run_id: str, start: RunStart) -> None:
        """Write the parameters, and the data as the run's input; a second time changes nothing."""
        self._store.log(run_id, params=start.params)
        log_input(self._client, run_id, as_dataset_input(start.dataset))

    def reopen(self, run_id: str) -> None:
        """Set a run that has ended back to RUNNING."""
        self._client.update_run(run_id, status="RUNNING")
        self._drop_outcome(run_id)

    def _drop_outcome(self, run_id: str) -> None:
        if "outcome" in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, "outcome")

    def answer_run(self, run_id: str, original_id: str) -> str:
        """End a run with the results of another one with the same configuration, named in its tag `duplicate_of`.

        Returns:
            The status of the other run.
        """
        from mlflow.entities import Metric

        original = self._client.get_run(original_id)
        written = self._client.get_run(run_id).data.metrics  # by an earlier attempt
        points = []
        for key in original.data.metrics:
            steps = {point.step for point in self._client.get_metric_history(run_id, key)} if key in written else ()
            points += [
                Metric(point.key, point.value, point.timestamp, point.step)
                for point in self._client.get_metric_history(original_id, key)
                if point.step not in steps
            ]
        for start in range(0, len(points), MAX_BATCH):
            self._client.log_batch(run_id, points[start : start + MAX_BATCH])
        for tag in ("weights_sha256", "outcome", LATENCY_TAG):
            if tag in original.data.tags:
                self._client.set_tag(run_id, tag, original.data.tags[tag])
        self._client.set_tag(run_id, "duplicate_of", original_id)
        self._client.set_terminated(run_id, original.info.status)
        return str(original.info.status)

    def log_epoch(self, run_id: str, metrics: EpochMetrics, *, at: float | None = None) -> None:
        """Write an epoch's metrics at its step; `at` is when it ended (seconds since 1970), by default now."""
        values = asdict(metrics)
        step = values.pop("epoch")
        if values["val_balanced_accuracy"] is None:  # kept on disk before it was measured
            del values["val_balanced_accuracy"]
        self._store.log(run_id, metrics=values, step=step, at=at)

    def log_size(self, run_id: str, size: ModelSize, *, again: bool = False) -> None:
        """Write the sizes of a network; with `again`, only if an earlier attempt has not."""
        if not (again and "coreml_bytes" in self._client.get_run(run_id).data.metrics):
            self._store.log(run_id, metrics=asdict(size))

    def log_oversize(self, run_id: str, parameters: int, coreml_bytes_at_least: int, *, again: bool = False) -> None:
        """Write what is known of a network that is too large; with `again`, only if an earlier attempt has not."""
        if not (again and "coreml_bytes_at_least" in self._client.get_run(run_id).data.metrics):
            self._store.log(run_id, metrics={"parameters": parameters, "coreml_bytes_at_least": coreml_bytes_at_least})

    def finish(
        self, run_id: str, result: RunResult, *, keep: bool, again: bool = False, at: float | None = None
    ) -> ModelRecord | None:
        """End a run as FINISHED with its final metrics, and with its model if `keep` is set.

        Args:
            result: of the training; its Keras file is read if the model is kept.
            keep: whether to keep the model.
            again: skip what an earlier attempt has already written.
            at: when it ended (seconds since 1970), by default now.
        """
        from mlflow.entities import Metric, RunTag

        model = None
        if keep:
            model = (self._models.kept_model(run_id) if again else None) or self._models.store(run_id, result)
        if not (again and "best_epoch" in self._client.get_run(run_id).data.metrics):
            now = int((at or time.time()) * 1000)
            model_id = model.model_id if model else None
            metrics = _final_metrics(result)
            if keep and result.drawn_accuracy is not None:
                metrics["drawn_accuracy"] = result.drawn_accuracy
            self._client.log_batch(
                run_id,
                [Metric(key, value, now, 0, model_id=model_id, run_id=run_id) for key, value in metrics.items()],
                tags=[RunTag(LATENCY_TAG, _about_latency(result))],
            )
        self._client.set_tag(run_id, "weights_sha256", result.weights_sha256)
        if result.not_measured:
            self._client.set_tag(run_id, "not_measured", result.not_measured)
        if again:
            self._drop_outcome(run_id)
        self._client.set_terminated(run_id, "FINISHED")
        return model

    def end(self, run_id: str, status: str, *, outcome: str | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED, with the reason in the tag `outcome`.

        A pruned run gets the accuracy of its best epoch.
        """
        if outcome == "pruned":
            run = run_record(self._client.get_run(run_id))
            epochs = self._runs.epochs(run_id) if BEST not in run.metrics else ()
            if epochs:
                best = max(epochs, key=lambda epoch: epoch.merit(run.params.get("objective", "val_accuracy")))
                self._store.log(run_id, metrics={BEST: best.val_accuracy})
        if outcome:
            self._client.set_tag(run_id, "outcome", outcome)
        else:
            self._drop_outcome(run_id)
        self._client.set_terminated(run_id, status)

    def fail(self, run_id: str, traceback: str) -> None:
        """End a run as FAILED, with its traceback, without secrets, as an artifact."""
        self._client.log_text(run_id, redact(traceback), "traceback.txt")
        self._drop_outcome(run_id)
        self._client.set_terminated(run_id, "FAILED")

    def log_files(self, run_id: str, folder: Path, place: str | None = None) -> None:
        """Write a folder's content into a run's artifacts."""
        self._client.log_artifacts(run_id, str(folder), place)

    def log_evaluation(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a kept model's evaluation, unless an earlier attempt has."""
        if metrics and not metrics.keys() & self._client.get_run(run_id).data.metrics.keys():
            self._store.log(run_id, metrics=metrics)

    def tag_not_drawn(self, run_id: str, reasons: str, place: str) -> None:
        """Record on a run which parts of its report are missing, and why.

        Args:
            reasons: empty if nothing is missing: then the tag and the tracebacks of an earlier attempt are removed.
            place: the report's folder among the run's artifacts.
        """
        if reasons:
            self._client.set_tag(run_id, NOT_DRAWN, reasons[:LONGEST_TAG])
            return
        run = self._client.get_run(run_id)
        if NOT_DRAWN not in run.data.tags:
            return
        files, note = self._models.artifacts(str(run.info.artifact_uri)), f"{place}/{NOT_DRAWN_FILE}"
        if any(entry.path == note for entry in files.list_artifacts(place)):
            files.delete_artifacts(note)
        self._client.delete_tag(run_id, NOT_DRAWN)  # last, so that an interrupted removal is repeated


def _final_metrics(result: RunResult) -> dict[str, float]:
    balanced = result.best_val_balanced_accuracy
    return {
        **({} if balanced is None else {"best_val_balanced_accuracy": balanced}),
        "best_epoch": result.best_epoch,
        "best_val_accuracy": result.best_val_accuracy,
        "best_val_loss": result.best_val_loss,
        "keras_bytes": result.keras_bytes,
        HOST_LATENCY: result.latency_ms,
        "images_per_second": result.images_per_second,
    }


def _about_latency(result: RunResult) -> str:
    """Return a text on how the time of an image was measured, and on the load of its host."""
    load = "not known" if result.host_load is None else f"{result.host_load:.2f}"
    return (
        f"Median time of one image through the Keras model on this run's host, whose load average was {load} then. "
        f"Older runs call it {LATENCY_BEFORE}."
    )


def run_start(
    experiment_id: str,
    name: str,
    config: RunConfig,
    *,
    dataset: Dataset,
    environment: Environment,
    parent: str | None = None,
    study: str | None = None,
    trial_number: int | None = None,
    replicate_of: int | None = None,
    warm_start: str | None = None,
) -> RunStart:
    """Return the start of a run for one configuration.

    Args:
        replicate_of: the number of the trial that this one repeats with another seed.
        warm_start: the trial of an earlier study that this one starts from.
    """
    tags = source_tags() | {
        "dataset_digest": dataset.digest,
        "val_images": str(len(dataset.val)),  # for the interval of val_accuracy
        "host": environment.host,
        "processor": environment.processor,
        "threads": str(environment.threads),
        "bfloat16": environment.bfloat16,
    }
    if environment.gpu:
        tags["gpu"] = environment.gpu
    if environment.plugins:
        tags["plugins"] = json.dumps(dict(environment.plugins))
    tags |= {f"setting.{name}": value for name, value in environment.settings}
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    if study is not None:
        tags |= {"study": study, "trial_number": str(trial_number)}
    if replicate_of is not None:
        tags["replicate_of"] = str(replicate_of)
    if warm_start is not None:
        tags["warm_start"] = warm_start
    params = {key: str(value) for key, value in config.parameters().items()}
    params |= reading_of(config.dataset)
    return RunStart(experiment_id, name, params, tags, dataset_facts(dataset, config.dataset))
