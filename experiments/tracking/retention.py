"""Which model files a store needs, and the removal of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.tracking.models import PRUNED_TAG, model_ids
from experiments.tracking.promotions import COREML_SUFFIX, Promotions
from experiments.tracking.store import one_line, quoted

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

UNFINISHED = {"RUNNING", "SCHEDULED"}


@dataclass(frozen=True)
class StoredModel:
    """A model's files in the artifact store."""

    model_id: str
    experiment: str
    run_id: str
    run: str | None  # its name; None where MLflow does not know the run
    bytes: int  # of the files that a removal frees
    needed: str | None  # why it is kept; None: nothing needs it


class Retention(Promotions):
    """Model files of one MLflow store."""

    def stored_models(self, experiment: str | None = None) -> list[StoredModel]:
        """All stored models of an experiment, or of all.

        Raises:
            UsageError: for an unknown experiment.
        """
        with one_line(self.uri):
            experiments = {each.experiment_id: each for each in self._client.search_experiments()}
            if experiment:
                chosen = self._experiment_id(experiment)
                experiments = {chosen: self._client.get_experiment(chosen)}
            if not experiments:
                return []
            versions = self._versions()
            needed = {found: version for version in versions for found in model_ids(version)}
            promoted = {str(version.run_id) for version in versions if version.name.endswith(COREML_SUFFIX)}
            runs: dict[str, Run | None] = {}
            models = {model.model_id: model for model in self._logged_models(list(experiments))}
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
            return None  # an earlier removal did not come to its end
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
        """A run, read once; None where MLflow does not know it."""
        from mlflow.exceptions import MlflowException

        if not run_id:
            return None
        if run_id not in runs:
            try:
                runs[run_id] = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                runs[run_id] = None
        return runs[run_id]

    def _logged_models(self, experiment_ids: list[str]) -> Iterator[LoggedModel]:
        token = None
        while True:
            page = self._client.search_logged_models(experiment_ids, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def remove_files(self, model: StoredModel) -> bool:
        """Remove a model that nothing needs; its run keeps its metrics, and gets the reports of refused promotions.

        Whether that still holds is asked again under the promotion lock.

        Returns:
            Whether it was removed: False if somebody needs it now.

        Raises:
            TrackingError: if the artifact store refuses; the next removal tries again.
            OSError: if a file on this machine cannot be removed; likewise.
        """
        from mlflow.exceptions import MlflowException

        with self.promotion_lock("removes models that nothing needs"):
            with one_line(self.uri):
                try:
                    found = self._client.get_logged_model(model.model_id)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                        raise
                    return True  # another pruning was first
                versions = self._search_versions(f"run_id = {quoted(model.run_id)}") if model.run_id else []
                needed = {each: version for version in versions for each in model_ids(version)}
                promoted = {str(version.run_id) for version in versions if version.name.endswith(COREML_SUFFIX)}
                runs: dict[str, Run | None] = {}
                if self._why_needed(found, self._run_once(model.run_id, runs), needed, promoted, runs):
                    return False
            return self.drop_model(model.model_id)
