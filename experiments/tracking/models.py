"""Kept models: their files, and which of them can be removed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import numpy.typing as npt

from architectures.scratch import scratch_folder
from experiments.config import RunResult
from experiments.tracking.guard import INVALID, MISSING, Guarded, TrackingError, store_errors
from experiments.tracking.keras_flavor import MODEL_FILE, PROBABILITIES_FILE, write_keras_flavor
from experiments.tracking.records import ModelRecord
from experiments.tracking.store import Store, absolute, quoted, shown_place

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

COREML_SUFFIX = "-coreml"  # of the registered model whose versions are the promotions of another
REPORTS = "refused"  # folder next to a model's files with reports of refused promotions, which are kept
PRUNED_TAG = "pruned_at"  # of a LoggedModel whose files are being removed
MODEL_ID_PATTERN = re.compile(r"m-[0-9a-f]{32}")
UNFINISHED = {"RUNNING", "SCHEDULED"}


@dataclass(frozen=True)
class StoredModel:
    """A model's files in the artifact store."""

    model_id: str
    experiment: str
    run_id: str
    run: str | None  # its name; None if MLflow does not know the run
    bytes: int  # of the files that a removal frees
    needed: str | None  # why it is kept; None: nothing needs it


class Models:
    """Kept models: their files, and which of them nothing needs."""

    def __init__(self, store: Store) -> None:
        self._store, self._client = store, store.client

    def store(self, run_id: str, result: RunResult) -> ModelRecord:
        """Store a run's model as an MLflow LoggedModel that `mlflow.keras.load_model` reads.

        MLflow's own `log_model` would need Keras and the model in this process, and seconds to infer known
        requirements, so this writes the same folder itself.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        with scratch_folder() as folder:
            run = self._client.get_run(run_id)
            model = self._client.create_logged_model(
                experiment_id=run.info.experiment_id,
                name="model",
                source_run_id=run_id,
                params=dict(run.data.params),
                tags={"keras_sha256": result.keras_sha256},
                model_type="classifier",
            )
            write_keras_flavor(folder, result, model.model_id, run_id)
            self._client.log_model_artifacts(model.model_id, str(folder))
            try:
                self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=result.best_epoch)])
            except TrackingError as error:
                if error.code == INVALID:  # the run was given up in the meantime, and the model with it
                    self.artifacts(model.artifact_location).delete_artifacts()
                    _remove_empty_folder(model.artifact_location, model.model_id)
                raise
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return ModelRecord(model.model_id, run_id, result.keras_sha256)

    def kept_model(self, run_id: str) -> ModelRecord | None:
        """Return the model of a run, if one was kept."""
        from mlflow.entities import LoggedModelStatus

        try:
            outputs = self._client.get_run(run_id).outputs
        except TrackingError as error:
            if error.code != MISSING:
                raise
            return None  # permanently deleted
        for output in outputs.model_outputs if outputs else ():
            try:
                model = self._client.get_logged_model(output.model_id)
            except TrackingError as error:
                if error.code != MISSING:
                    raise
                continue  # superseded and dropped
            if "keras_sha256" in model.tags and PRUNED_TAG not in model.tags:
                if str(model.status) != "READY":  # killed before the last step, when its files were already complete
                    self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
                return ModelRecord(model.model_id, run_id, model.tags["keras_sha256"])
        return None

    def drop_model(self, model_id: str) -> bool:
        """Remove a kept model that is no longer needed; reports of refused promotions go to its run.

        The store is consistent at each moment: once a model is marked, no command takes it for a kept one.
        `experiments.prune` finishes an interrupted removal.

        This marks the model and then looks for it in the registry; registering looks for the mark afterwards, so
        concurrent callers cannot miss each other, whatever lock they hold.

        Returns:
            Whether it was removed: False if a version refers to it.
        """
        try:
            model = self._client.get_logged_model(model_id)
        except TrackingError as error:
            if error.code != MISSING:
                raise
            return True  # another sweep of the study has removed it
        self._client.set_logged_model_tags(model_id, {PRUNED_TAG: datetime.now(UTC).isoformat(timespec="seconds")})
        versions = self._store.search_versions(f"run_id = {quoted(str(model.source_run_id))}")
        if any(model_id in model_ids(version) for version in versions):
            self._client.delete_logged_model_tag(model_id, PRUNED_TAG)
            return False
        files = self.artifacts(model.artifact_location)
        if any(entry.path == REPORTS for entry in files.list_artifacts()):
            with scratch_folder() as folder:
                reports = files.download_artifacts(REPORTS, dst_path=str(folder))
                self._client.log_artifacts(str(model.source_run_id), reports, REPORTS)
        files.delete_artifacts()
        self._client.delete_logged_model(model_id)
        _remove_empty_folder(model.artifact_location, model_id)
        return True

    def is_removed(self, model: ModelRecord) -> bool:
        """Return whether a kept model was removed or is being removed."""
        try:
            return PRUNED_TAG in self._client.get_logged_model(model.model_id).tags
        except TrackingError as error:
            if error.code != MISSING:
                raise
            return True

    def place_in_model(self, model_id: str, name: str) -> str:
        """Return the place of a file next to a model: a path on this machine, or a URI."""
        return shown_place(self._client.get_logged_model(model_id).artifact_location, name)

    def artifacts(self, location: str) -> ArtifactRepository:
        """Return the artifact repository of a location, on this machine or on a server."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        found = get_artifact_repository(location, tracking_uri=absolute(self._store.uri))
        return cast("ArtifactRepository", Guarded(found, self._store.uri))

    def _model_bytes(self, location: str) -> int:
        """Return the bytes of a model's files, without reports of refused promotions."""
        files = self.artifacts(location)
        total, folders = 0, [""]
        while folders:
            for entry in files.list_artifacts(folders.pop() or None):
                if not entry.is_dir:
                    total += entry.file_size or 0
                elif entry.path != REPORTS:
                    folders.append(entry.path)
        return total

    def download_keras(self, model: ModelRecord, folder: Path) -> Path:
        """Fetch a kept model's `.keras` file into a folder."""
        return self.download(model.model_id, MODEL_FILE, folder)

    def val_probabilities(self, run_id: str) -> npt.NDArray[np.float32] | None:
        """Return the probabilities of a run's kept model on the validation images (N, num_classes), if recorded."""
        if (model := self.kept_model(run_id)) is None:
            return None
        files = self.artifacts(self._client.get_logged_model(model.model_id).artifact_location)
        if all(entry.path != PROBABILITIES_FILE for entry in files.list_artifacts()):  # an older model
            return None
        with scratch_folder() as folder:
            return np.load(self.download(model.model_id, PROBABILITIES_FILE, folder))

    def download(self, model_id: str, name: str, folder: Path) -> Path:
        """Fetch a file or a folder of a LoggedModel."""
        from mlflow.artifacts import download_artifacts

        location = self._client.get_logged_model(model_id).artifact_location
        uri = self._store.uri
        with store_errors(uri):
            place = f"{location}/{name}"
            return Path(download_artifacts(place, dst_path=str(folder), tracking_uri=absolute(uri)))

    def attach(self, model: ModelRecord, folder: Path) -> None:
        """Add a folder's files to those of a kept model."""
        self._client.log_model_artifacts(model.model_id, str(folder))

    def stored_models(self, experiment: str | None = None) -> list[StoredModel]:
        """Return all stored models of an experiment, or of all experiments.

        Raises:
            UsageError: for an unknown experiment.
        """
        experiments = {each.experiment_id: each for each in self._client.search_experiments()}
        if experiment:
            chosen = self._store.experiment_id(experiment)
            experiments = {chosen: self._client.get_experiment(chosen)}
        if not experiments:
            return []
        versions = self._store.versions()
        needed = {found: version for version in versions for found in model_ids(version)}
        promoted = {str(version.run_id) for version in versions if version.name.endswith(COREML_SUFFIX)}
        runs: dict[str, Run | None] = {}
        models = {model.model_id: model for model in self._store.logged_models(list(experiments))}
        found = [
            StoredModel(
                model_id=model.model_id,
                experiment=experiments[model.experiment_id].name,
                run_id=model.source_run_id or "",
                run=run.info.run_name if (run := self._run_once(model.source_run_id, runs)) else None,
                bytes=self._model_bytes(model.artifact_location),
                needed=self._why_needed(model, run, needed, promoted, runs),
            )
            for model in models.values()
        ]
        return sorted(found, key=lambda model: (model.experiment, model.needed is not None, model.run or ""))

    def _why_needed(
        self,
        model: LoggedModel,
        run: Run | None,
        needed: dict[str, ModelVersion],
        promoted: set[str],
        runs: dict[str, Run | None],
    ) -> str | None:
        if version := needed.get(model.model_id):
            return f"version {version.version} of {version.name}"
        if run is None or not {"architecture", "dataset"} <= run.data.params.keys():
            return "not a model of a sweep or a trial"
        if PRUNED_TAG in model.tags:
            return None  # an earlier removal was interrupted
        if run.info.run_id in promoted and "keras_sha256" in model.tags:
            return "a promotion was made of it"
        parent = self._run_once(run.data.tags.get("mlflow.parentRunId"), runs)
        for what, each in (("run", run), ("sweep", parent)):
            if each is None or each.info.lifecycle_stage == "deleted":
                continue
            if each.info.status in UNFINISHED:
                return f"its {what} is {each.info.status}"
            if what == "sweep" and (each.info.status == "FAILED" or each.data.tags.get("outcome") == "interrupted"):
                return "its sweep may be continued: it failed or was interrupted"
        return None

    def _run_once(self, run_id: str | None, runs: dict[str, Run | None]) -> Run | None:
        """Return a run, read once; None if MLflow does not know it."""
        if not run_id:
            return None
        if run_id not in runs:
            try:
                runs[run_id] = self._client.get_run(run_id)
            except TrackingError as error:
                if error.code != MISSING:
                    raise
                runs[run_id] = None
        return runs[run_id]

    def remove_files(self, model: StoredModel) -> bool:
        """Remove a model that nothing needs; its run keeps its metrics, and gets the reports of refused promotions.

        This checks again, under the promotion lock, that nothing needs it.

        Returns:
            Whether it was removed: False if something needs it now.

        Raises:
            TrackingError: if the artifact store refuses; the next removal tries again.
            OSError: if a file on this machine cannot be removed; likewise.
        """
        with self._store.promotion_lock("removes models that nothing needs"):
            try:
                found = self._client.get_logged_model(model.model_id)
            except TrackingError as error:
                if error.code != MISSING:
                    raise
                return True  # another `prune` was first
            versions = self._store.search_versions(f"run_id = {quoted(model.run_id)}") if model.run_id else []
            needed = {each: version for version in versions for each in model_ids(version)}
            promoted = {str(version.run_id) for version in versions if version.name.endswith(COREML_SUFFIX)}
            runs: dict[str, Run | None] = {}
            if self._why_needed(found, self._run_once(model.run_id, runs), needed, promoted, runs):
                return False
            return self.drop_model(model.model_id)


def model_ids(version: ModelVersion) -> set[str]:
    """Return the ids of the LoggedModels that a version refers to, in any of MLflow's ways."""
    texts = (version.model_id, version.tags.get("model_id"), version.source)
    return {found for text in texts if text for found in MODEL_ID_PATTERN.findall(str(text))}


def _remove_empty_folder(location: str, model_id: str) -> None:
    """Remove a model's own folder if it is on this machine and empty."""
    path = Path(url2pathname(urlparse(location).path)) if location.startswith("file:") else Path(location)
    for folder in (path, path.parent):
        if model_id in folder.parts and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
