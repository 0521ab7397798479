"""Kept models and the registry: versions, aliases, tags."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from architectures.errors import ProjectError, UsageError
from architectures.scratch import scratch_folder
from experiments.config import RunResult
from experiments.tracking.keras_flavor import MODEL_FILE, PROBABILITIES_FILE, write_keras_flavor
from experiments.tracking.lookup import AT_ONCE, Lookup
from experiments.tracking.promotion_lock import TICKETS
from experiments.tracking.records import ModelRecord, VersionFacts, VersionRecord, run_record
from experiments.tracking.store import absolute, one_line, quoted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

CANDIDATE = "candidate"  # alias: the best of the last sweep
CHAMPION = "champion"  # alias: the promoted version
REPORTS = "refused"  # folder of refused promotions' reports beside a model's files: records, which stay
PRUNED_TAG = "pruned_at"  # of a LoggedModel whose files are being removed
MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
IN_A_DATABASE = 500  # ids in one search of a database


class Models(Lookup):
    """Kept models and registered versions of one MLflow store."""

    def _store(self, run_id: str, result: RunResult) -> ModelRecord:
        """Store a run's model as an MLflow LoggedModel that `mlflow.keras.load_model` reads.

        MLflow's own `log_model` would need Keras and the model in this process, and seconds to infer requirements
        that are known; the folder it would write is written here.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.exceptions import MlflowException

        with one_line(self.uri), scratch_folder() as folder:
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
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":  # the run was given up meanwhile, the model with it
                    self._artifacts(model.artifact_location).delete_artifacts()
                    _remove_empty_folder(model.artifact_location, model.model_id)
                raise
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return ModelRecord(model.model_id, run_id, result.keras_sha256)

    def kept_model(self, run_id: str) -> ModelRecord | None:
        """The model of a run, if one was kept."""
        from mlflow.entities import LoggedModelStatus
        from mlflow.exceptions import MlflowException

        with one_line(self.uri):
            try:
                outputs = self._client.get_run(run_id).outputs
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None  # deleted for good
            for output in outputs.model_outputs if outputs else ():
                try:
                    model = self._client.get_logged_model(output.model_id)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                        raise
                    continue  # overtaken by better ones and dropped
                if "keras_sha256" in model.tags and PRUNED_TAG not in model.tags:
                    if str(model.status) != "READY":  # killed at the last step: its files are whole by then
                        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
                    return ModelRecord(model.model_id, run_id, model.tags["keras_sha256"])
        return None

    def drop_model(self, model_id: str) -> bool:
        """Remove a kept model that nothing needs any more; reports of refused promotions go to its run.

        At each moment the store is consistent: from its mark on no command takes the model for a kept one. What is cut
        short here is gone on with by `experiments.prune`.

        A model is marked, then looked for in the registry; who registers one looks for the mark afterwards. Of two at
        once at least one sees the other, whatever lock they hold.

        Returns:
            Whether it was removed: False if a version refers to it.
        """
        from mlflow.exceptions import MlflowException

        with one_line(self.uri):
            try:
                model = self._client.get_logged_model(model_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return True  # another sweep of the study has removed it
            self._client.set_logged_model_tags(model_id, {PRUNED_TAG: datetime.now(UTC).isoformat(timespec="seconds")})
            versions = self._search_versions(f"run_id = {quoted(str(model.source_run_id))}")
            if any(model_id in model_ids(version) for version in versions):
                self._client.delete_logged_model_tag(model_id, PRUNED_TAG)
                return False
            files = self._artifacts(model.artifact_location)
            if any(entry.path == REPORTS for entry in files.list_artifacts()):
                with scratch_folder() as folder:
                    reports = files.download_artifacts(REPORTS, dst_path=str(folder))
                    self._client.log_artifacts(str(model.source_run_id), reports, REPORTS)
            files.delete_artifacts()
            self._client.delete_logged_model(model_id)
            _remove_empty_folder(model.artifact_location, model_id)
        return True

    def is_removed(self, model: ModelRecord) -> bool:
        """Whether a model that was kept is gone or going."""
        from mlflow.exceptions import MlflowException

        with one_line(self.uri):
            try:
                return PRUNED_TAG in self._client.get_logged_model(model.model_id).tags
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return True

    def place_in_model(self, model_id: str, name: str) -> str:
        """Where a file beside a model is: a path on this machine, or a URI."""
        with one_line(self.uri):
            return shown_place(self._client.get_logged_model(model_id).artifact_location, name)

    def place_in_run(self, run_id: str, name: str) -> str:
        """Where an artifact of a run is: a path on this machine, or a URI."""
        with one_line(self.uri):
            return shown_place(str(self._client.get_run(run_id).info.artifact_uri), name)

    def _artifacts(self, location: str) -> ArtifactRepository:
        """A place of artifacts, on this machine or behind a server."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(location, tracking_uri=absolute(self.uri))

    def _model_bytes(self, location: str) -> int:
        """Bytes of a model's files, reports of refused promotions left out."""
        files = self._artifacts(location)
        total, folders = 0, [""]
        while folders:
            for entry in files.list_artifacts(folders.pop() or None):
                if not entry.is_dir:
                    total += entry.file_size or 0
                elif entry.path != REPORTS:
                    folders.append(entry.path)
        return total

    def register(self, name: str, model: ModelRecord) -> VersionRecord:
        """The registry version of a kept model, made where there is none yet.

        Raises:
            ProjectError: if the model is being removed.
        """
        with one_line(self.uri):
            if known := self.registered(name, model):
                return known
            run = run_record(self._client.get_run(model.run_id))
            tags = {
                "model_id": model.model_id,
                "architecture": run.params["architecture"],
                "dataset": run.params["dataset"],
                "dataset_digest": run.tags["dataset_digest"],
                "keras_sha256": model.keras_sha256,
                "best_val_accuracy": repr(run.metrics["best_val_accuracy"]),
                "expected_coreml_bytes": str(int(run.metrics["coreml_bytes"])),
            }
            if "study" in run.tags:
                tags["study"] = run.tags["study"]
            made = self._add_version(name, model.model_id, model.run_id, tags)
            if self.is_removed(model):
                self._client.delete_model_version(name, made.version)
                raise ProjectError(f"The model of run {model.run_id} was removed meanwhile: nothing needed it.")
            return _version_record(made)

    def registered(self, name: str, model: ModelRecord) -> VersionRecord | None:
        """The version of a registered model that holds a kept model, if there is one."""
        with one_line(self.uri):
            for known in self._client.search_model_versions(f"run_id = {quoted(model.run_id)}"):
                if known.name == name and _is_kept_model(known):
                    return _version_record(known)
        return None

    def _add_version(self, name: str, model_id: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Register an MLflow LoggedModel under a name, which is made where it does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"models:/{model_id}"
        if not self.uri.startswith("http"):
            # MLflow 3.17 looks such a source up in the store that is globally set, whichever store this client has.
            source = self._client.get_logged_model(model_id).artifact_location
        return self._client.create_model_version(name, source, run_id=run_id, tags=dict(tags), model_id=model_id)

    def version(self, name: str, number: int) -> VersionRecord:
        """A registered version; raises UsageError for an unknown name or version."""
        from mlflow.exceptions import MlflowException

        with one_line(self.uri):
            try:
                return _version_record(self._client.get_model_version(name, str(number)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                known = sorted(int(v.version) for v in self._versions(name))
                choices = f"Its versions: {', '.join(map(str, known))}." if known else "It has no versions."
                raise UsageError(f"Unknown version {number} of registered model {name!r}. {choices}") from None

    def best(self, name: str) -> VersionRecord:
        """The registered version with the highest val_accuracy, then the smallest Core ML file, then the oldest."""
        with one_line(self.uri):
            known = [found for found in self._versions(name) if _is_ranked(found)]
            if not known:
                names = ", ".join(self.registered_names()) or "none"
                raise UsageError(
                    f"Registered model {name!r} has no version in {self.uri} (registered models: {names}). "
                    f"Run python -m search.sweep first, or name another: --model."
                )
            return _version_record(
                max(
                    known,
                    key=lambda found: (
                        float(found.tags["best_val_accuracy"]),
                        -int(found.tags["expected_coreml_bytes"]),
                        -int(found.version),
                    ),
                )
            )

    def registered_names(self) -> list[str]:
        """Names of all registered models."""
        names: list[str] = []
        token = None
        with one_line(self.uri):
            while True:
                page = self._client.search_registered_models(page_token=token)
                names += [model.name for model in page if model.name != TICKETS]
                token = page.token
                if not token:
                    return names

    def registered_name(self, run_id: str) -> str | None:
        """The registered model that holds a run's model, if there is one."""
        return next(iter(self.registered_as(run_id)), None)

    def registered_as(self, run_id: str) -> tuple[str, ...]:
        """All registered models that hold a run's model."""
        with one_line(self.uri):
            found = self._client.search_model_versions(f"run_id = {quoted(run_id)}")
        return tuple(dict.fromkeys(version.name for version in found if _is_kept_model(version)))

    def versions_of(self, run_ids: Sequence[str]) -> dict[str, VersionFacts]:
        """The latest registry version of each of these runs that has one."""
        with one_line(self.uri):
            found: list[ModelVersion] = []
            many = AT_ONCE if self.uri.startswith("http") else IN_A_DATABASE
            for start in range(0, len(run_ids), many):
                ids = ", ".join(map(quoted, run_ids[start : start + many]))
                found += self._search_versions(f"run_id IN ({ids})")
            return {facts.run_id: facts for facts in reversed(self._facts(found))}

    def versions(self, name: str) -> list[VersionFacts]:
        """The kept models among the versions of a registered model; raises UsageError for an unknown name."""
        with one_line(self.uri):
            found = self._versions(name)
            if not found and name not in (known := self.registered_names()):
                raise UsageError(f"Unknown registered model {name!r} in {self.uri}. It holds: {', '.join(known)}.")
            return self._facts(found)

    def _facts(self, found: Sequence[ModelVersion]) -> list[VersionFacts]:
        """Versions with their aliases, which MLflow's search leaves out."""
        kept = [version for version in found if _is_kept_model(version)]
        aliases: dict[tuple[str, int], list[str]] = {}
        for name in {version.name for version in kept}:
            for alias, number in sorted(self._client.get_registered_model(name).aliases.items()):
                aliases.setdefault((name, int(number)), []).append(alias)
        return [
            VersionFacts(
                **vars(_version_record(version)),
                aliases=tuple(aliases.get((version.name, int(version.version)), ())),
                tags=version.tags,
            )
            for version in kept
        ]

    def _versions(self, name: str | None = None) -> list[ModelVersion]:
        return self._search_versions(f"name = {quoted(name)}" if name else None)

    def _search_versions(self, text: str | None) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token = None
        while True:
            page = self._client.search_model_versions(text, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def set_alias(self, model: VersionRecord, alias: str) -> None:
        """Point an alias at a registered version."""
        self._alias(model.registered_name, alias, model.version)

    def tag_version(self, model: VersionRecord, tags: Mapping[str, str]) -> None:
        """Set tags on a registered version."""
        self._tag(model.registered_name, model.version, tags)

    def _alias(self, name: str, alias: str, number: int) -> None:
        with one_line(self.uri):
            self._client.set_registered_model_alias(name, alias, str(number))

    def _tag(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        with one_line(self.uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(number), key, value)

    def download_keras(self, model: ModelRecord, folder: Path) -> Path:
        """Fetch a kept model's `.keras` file into a folder."""
        return self._download(model.model_id, MODEL_FILE, folder)

    def val_probabilities(self, run_id: str) -> npt.NDArray[np.float32] | None:
        """What a run's kept model answered on the validation images (N, num_classes); None where that is not kept."""
        import numpy as np

        if (model := self.kept_model(run_id)) is None:
            return None
        with one_line(self.uri):
            files = self._artifacts(self._client.get_logged_model(model.model_id).artifact_location)
            if all(entry.path != PROBABILITIES_FILE for entry in files.list_artifacts()):  # kept before they were
                return None
        with scratch_folder() as folder:
            return np.load(self._download(model.model_id, PROBABILITIES_FILE, folder))

    def _download(self, model_id: str, name: str, folder: Path) -> Path:
        """Fetch a file or a folder of a LoggedModel."""
        from mlflow.artifacts import download_artifacts

        with one_line(self.uri):
            location = self._client.get_logged_model(model_id).artifact_location
            path = download_artifacts(
                artifact_uri=f"{location}/{name}", dst_path=str(folder), tracking_uri=absolute(self.uri)
            )
        return Path(path)

    def attach(self, model: ModelRecord, folder: Path) -> None:
        """Add a folder's files to those of a kept model."""
        with one_line(self.uri):
            self._client.log_model_artifacts(model.model_id, str(folder))


def shown_place(location: str, name: str) -> str:
    """A file in a place of artifacts, as a person opens it.

    >>> shown_place("file:///home/me/mlruns/1/a%20b", "study/report.html")
    '/home/me/mlruns/1/a b/study/report.html'
    >>> shown_place("mlflow-artifacts:/1/models/m-2", "promotion.html")
    'mlflow-artifacts:/1/models/m-2/promotion.html'
    """
    if location.startswith("file:"):
        location = url2pathname(urlparse(location).path)
    return f"{location.rstrip('/')}/{name}"


def model_ids(version: ModelVersion) -> set[str]:
    """The LoggedModels that a version refers to in any of MLflow's ways."""
    texts = (version.model_id, version.tags.get("model_id"), version.source)
    return {found for text in texts if text for found in MODEL_ID.findall(str(text))}


def _is_kept_model(found: ModelVersion) -> bool:
    """Whether `register` made a version; a promotion's has the same run, and holds a Core ML file."""
    return {"keras_sha256", "model_id"} <= found.tags.keys()


def _is_ranked(found: ModelVersion) -> bool:
    """Whether a version's tags hold the figures that it is chosen by."""
    try:
        return math.isfinite(float(found.tags["best_val_accuracy"])) and int(found.tags["expected_coreml_bytes"]) > 0
    except (KeyError, ValueError):
        return False


def _version_record(found: ModelVersion) -> VersionRecord:
    """A version's record; the tags are those that `register` sets."""
    if not _is_kept_model(found):
        raise ProjectError(f"Version {found.version} of {found.name!r} was not registered by a sweep or a trial.")
    tags = found.tags
    return VersionRecord(tags["model_id"], str(found.run_id), tags["keras_sha256"], found.name, int(found.version))


def _remove_empty_folder(location: str, model_id: str) -> None:
    """Remove a model's own folder where it lies on this machine and holds nothing any more."""
    path = Path(url2pathname(urlparse(location).path)) if location.startswith("file:") else Path(location)
    for folder in (path, path.parent):
        if model_id in folder.parts and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
