"""The one doorway to MLflow: runs, kept models, the registry. Nothing else imports mlflow.

Keys, tags and aliases are the contract of README's table. Runs are written through `MlflowClient`: MLflow's fluent
functions keep their state in the thread, and its Keras flavor infers requirements for seconds per model.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from architectures.errors import ProjectError, UsageError
from experiments.config import Environment, EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.databases import make_database, sqlite_path
from experiments.datasets import Dataset

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

DEFAULT_URI = "sqlite:///mlflow.db"
CANDIDATE = "candidate"  # alias: the best of the last sweep
CHAMPION = "champion"  # alias: the promoted version
MODEL_FILE = "data/model.keras"  # where MLflow's own Keras flavor looks for it
RECORDED_PACKAGES = ("tensorflow", "keras", "coremltools", "mlflow", "optuna", "numpy")
CONNECT_SECONDS = 5  # after which a server that does not answer is reported


class TrackingError(ProjectError):
    """The tracking store cannot be reached, or refuses what it is asked."""


@dataclass(frozen=True)
class RunRecord:
    """A run as MLflow holds it."""

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def config(self) -> RunConfig:
        """The configuration that the run recorded; raises ProjectError for a run that is not one of ours."""
        try:
            return RunConfig(
                architecture=self.params["architecture"],
                dataset=self.params["dataset"],
                filters=int(self.params["filters"]),
                dropout=float(self.params["dropout"]),
                batch_size=int(self.params["batch_size"]),
                learning_rate=float(self.params["learning_rate"]),
                epochs=int(self.params["epochs"]),
                seed=int(self.params["seed"]),
                precision=self.params["precision"],
                optimizer=self.params["optimizer"],
                augment=self.params["augment"] == "True",
            )
        except KeyError as error:
            raise ProjectError(f"Run {self.run_id} has no parameter {error}: it is not a training run.") from None


@dataclass(frozen=True)
class ModelRecord:
    """A model that was kept."""

    model_id: str  # of its MLflow LoggedModel
    run_id: str
    keras_sha256: str


@dataclass(frozen=True)
class VersionRecord(ModelRecord):
    """A kept model with its version in the registry."""

    registered_name: str
    version: int


def default_uri() -> str:
    """MLFLOW_TRACKING_URI where it is set, else SQLite in the working directory: a bare `mlflow ui` shows it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


@cache
def git_commit() -> str:
    """Commit of the checkout that holds this code, or `unknown` where it is installed outside of one."""
    here = Path(__file__)
    commit = ""
    try:
        for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
            commit = done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or somebody else's
        return "unknown"
    return commit


def environment(threads: int) -> Environment:
    """Where a run computes, for its record."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:  # not Linux
        pass
    return Environment(platform.node(), processor, threads)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an equivalent under another name, such as tensorflow-cpu
            continue
    return found


class Tracker:
    """Writes and reads runs, models and versions of one MLflow store."""

    def __init__(self, uri: str, *, create: bool = True) -> None:
        """Connect. Nothing global is changed: `mlflow.set_tracking_uri` would also set MLFLOW_TRACKING_URI.

        Args:
            uri: a database or a server.
            create: whether a SQLite file that does not exist is made; a command that only reads refuses it.

        Raises:
            TrackingError: if the store cannot be reached or opened.
        """
        self.uri = uri
        _check_reachable(uri)
        uri = _absolute(uri)
        path = sqlite_path(uri)
        if path and not path.exists():
            if not create:
                raise TrackingError(f"The tracking store {self.uri} does not exist. Run python -m search.sweep first.")
            with _one_line(self.uri):
                make_database(path, _make_store)
        with _one_line(uri):
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._client.search_experiments(max_results=1)

    # Runs

    def experiment(self, name: str) -> str:
        """Id of the experiment `name`, made where there is none."""
        from mlflow.exceptions import MlflowException

        with _one_line(self.uri):
            found = self._client.get_experiment_by_name(name)
            if found and found.lifecycle_stage == "deleted":
                raise ProjectError(
                    f"MLflow experiment {name!r} is deleted. Restore it (mlflow experiments restore) or "
                    f"choose another name: --experiment."
                )
            if found:
                return found.experiment_id
            try:
                return self._client.create_experiment(name)
            except MlflowException:
                if other := self._client.get_experiment_by_name(name):  # another process was first
                    return other.experiment_id
                raise

    def start_parent(self, experiment_id: str, study: str, config: Mapping[str, object]) -> str:
        """Start the parent run of a new study; its parameters are the sweep's configuration.

        A parent that a sweep left RUNNING when it was killed before it had made its study is taken over.
        """
        params = {key: str(value) for key, value in config.items()}
        with _one_line(self.uri):
            found = self._client.search_runs(
                [experiment_id], f"tags.study = {_quoted(study)} and tags.sweep = 'parent' and status = 'RUNNING'"
            )
            if found:
                run_id = found[0].info.run_id
            else:
                tags = _source_tags() | {"study": study, "sweep": "parent"}
                run_id = self._client.create_run(experiment_id, run_name=study, tags=tags).info.run_id
            self._log(run_id, params=params)
        return run_id

    def resume_parent(self, run_id: str) -> None:
        """Set a parent run back to RUNNING."""
        with _one_line(self.uri):
            self._reopen(run_id)

    def start_run(
        self,
        experiment_id: str,
        name: str,
        config: RunConfig,
        *,
        dataset: Dataset,
        environment: Environment,
        parent: str | None = None,
        study: str | None = None,
        trial_number: int | None = None,
    ) -> str:
        """Start the run of one configuration and write its parameters and tags."""
        tags = _run_tags(dataset, environment)
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        if study is not None:
            tags |= {"study": study, "trial_number": str(trial_number)}
        with _one_line(self.uri):
            run = self._client.create_run(experiment_id, run_name=name, tags=tags)
            self._log(run.info.run_id, params=_run_params(config))
        return run.info.run_id

    def find_run(self, parent: str, trial_number: int) -> str | None:
        """Id of a trial's run under a parent, if an earlier attempt has made one."""
        with _one_line(self.uri):
            parent_run = self._client.get_run(parent)
            found = self._client.search_runs(
                [parent_run.info.experiment_id],
                f"tags.`mlflow.parentRunId` = '{parent}' and tags.trial_number = '{trial_number}'",
                max_results=1,
            )
        return found[0].info.run_id if found else None

    def resume_run(self, run_id: str, config: RunConfig, dataset: Dataset, environment: Environment) -> int | None:
        """Set a run that was interrupted back to RUNNING.

        Returns:
            The last epoch that it has recorded. None where it was computed elsewhere, with other code or on other
            threads: its epochs would not go on bit for bit, so the run is deleted and another is to be started.
        """
        with _one_line(self.uri):
            tags = self._client.get_run(run_id).data.tags
            if any(tags.get(key) != value for key, value in _run_tags(dataset, environment).items()):
                self._client.delete_run(run_id)
                return None
            self._reopen(run_id)
            self._log(run_id, params=_run_params(config))  # again: the run may have been killed before it had them
            # `epoch_seconds` is the last key of an epoch's batch, which SQL stores write in one transaction.
            return max((metric.step for metric in self._client.get_metric_history(run_id, "epoch_seconds")), default=0)

    def _reopen(self, run_id: str) -> None:
        self._client.update_run(run_id, status="RUNNING")
        if "outcome" in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, "outcome")

    def log_epoch(self, run_id: str, metrics: EpochMetrics) -> None:
        """Write an epoch's metrics at its step."""
        values = asdict(metrics)
        step = values.pop("epoch")
        with _one_line(self.uri):
            self._log(run_id, metrics=values, step=step)

    def log_size(self, run_id: str, size: ModelSize) -> None:
        """Write what is known once a network is built, unless an earlier attempt has."""
        with _one_line(self.uri):
            if "coreml_bytes" not in self._client.get_run(run_id).data.metrics:
                self._log(run_id, metrics=asdict(size))

    def finish(self, run_id: str, result: RunResult, *, keep: bool) -> ModelRecord | None:
        """End a run as FINISHED with its final metrics, and with its model if that is to be kept.

        What an earlier attempt has written already is not written again.
        """
        from mlflow.entities import Metric

        model = (self.kept_model(run_id) or self._store(run_id, result)) if keep else None
        with _one_line(self.uri):
            if "best_epoch" not in self._client.get_run(run_id).data.metrics:
                now = int(time.time() * 1000)
                model_id = model.model_id if model else None
                self._client.log_batch(
                    run_id,
                    [
                        Metric(key, value, now, result.best_epoch, model_id=model_id, run_id=run_id)
                        for key, value in _final_metrics(result).items()
                    ],
                )
            self._client.set_tag(run_id, "weights_sha256", result.weights_sha256)
            self._client.set_terminated(run_id, "FINISHED")
        return model

    def end(self, run_id: str, status: str, *, outcome: str | None = None) -> None:
        """End a run as FINISHED, FAILED or KILLED, with the reason in the tag `outcome`."""
        with _one_line(self.uri):
            if outcome:
                self._client.set_tag(run_id, "outcome", outcome)
            self._client.set_terminated(run_id, status)

    def fail(self, run_id: str, traceback: str) -> None:
        """End a run as FAILED, with its traceback as an artifact."""
        with _one_line(self.uri):
            self._client.log_text(run_id, traceback, "traceback.txt")
            self._client.set_terminated(run_id, "FAILED")

    def log_files(self, run_id: str, folder: Path, place: str | None = None) -> None:
        """Write a folder's content into a run's artifacts."""
        with _one_line(self.uri):
            self._client.log_artifacts(run_id, str(folder), place)

    def run(self, run_id: str) -> RunRecord:
        """Read a run; raises UsageError for an unknown id."""
        from mlflow.exceptions import MlflowException

        with _one_line(self.uri):
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    raise UsageError(f"Unknown run {run_id!r} in {self.uri}.") from None
                raise
        return _record(run)

    def runs(
        self, experiment: str, *, study: str | None = None, order_by: str = "best_val_accuracy"
    ) -> list[RunRecord]:
        """Training runs of an experiment, the highest `order_by` metric first.

        Raises:
            UsageError: for an unknown experiment, or a study that it does not hold.
        """
        with _one_line(self.uri):
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                known = ", ".join(e.name for e in self._client.search_experiments()) or "none"
                raise UsageError(f"Unknown experiment {experiment!r} in {self.uri}. It holds: {known}.")
            text = "params.architecture != ''" + (f" and tags.study = {_quoted(study)}" if study else "")
            runs: list[RunRecord] = []
            token = None
            while True:
                page = self._client.search_runs([found.experiment_id], text, page_token=token)
                runs += map(_record, page)
                token = page.token
                if not token:
                    break
        if study and not runs:
            raise UsageError(f"Unknown study {study!r} in experiment {experiment!r} of {self.uri}.")
        return runs

    # Models

    def _store(self, run_id: str, result: RunResult) -> ModelRecord:
        """Store a run's model as an MLflow LoggedModel that `mlflow.keras.load_model` reads.

        MLflow's own `log_model` would need Keras and the model in this process, and seconds to infer requirements
        that are known; the folder it would write is written here.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        with _one_line(self.uri), tempfile.TemporaryDirectory(prefix="pocketnets-") as folder:
            run = self._client.get_run(run_id)
            model = self._client.create_logged_model(
                experiment_id=run.info.experiment_id,
                name="model",
                source_run_id=run_id,
                params=dict(run.data.params),
                tags={"keras_sha256": result.keras_sha256},
                model_type="classifier",
            )
            _write_keras_flavor(Path(folder), result, model.model_id, run_id)
            self._client.log_model_artifacts(model.model_id, folder)
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=result.best_epoch)])
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return ModelRecord(model.model_id, run_id, result.keras_sha256)

    def kept_model(self, run_id: str) -> ModelRecord | None:
        """The model of a run, if one was kept."""
        from mlflow.exceptions import MlflowException

        with _one_line(self.uri):
            outputs = self._client.get_run(run_id).outputs
            for output in outputs.model_outputs if outputs else ():
                try:
                    model = self._client.get_logged_model(output.model_id)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                        raise
                    continue  # overtaken by better ones and dropped
                if str(model.status) == "READY" and "keras_sha256" in model.tags:
                    return ModelRecord(model.model_id, run_id, model.tags["keras_sha256"])
        return None

    def drop_model(self, model_id: str) -> None:
        """Delete a kept model that better ones have overtaken, its files included where they are local."""
        with _one_line(self.uri):
            location = self._client.get_logged_model(model_id).artifact_location
            self._client.delete_logged_model(model_id)
            _remove_local(location, model_id)

    def register(self, name: str, model: ModelRecord) -> VersionRecord:
        """The registry version of a kept model, made where there is none yet."""
        from mlflow.exceptions import MlflowException

        with _one_line(self.uri):
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            for known in self._client.search_model_versions(f"run_id = {_quoted(model.run_id)}"):
                if known.name == name:
                    return _version_record(known)
            run = _record(self._client.get_run(model.run_id))
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
            source = f"models:/{model.model_id}"
            if not self.uri.startswith("http"):
                # MLflow 3.17 looks such a source up in the store that is globally set, whichever store this client has.
                source = self._client.get_logged_model(model.model_id).artifact_location
            made = self._client.create_model_version(
                name, source, run_id=model.run_id, tags=tags, model_id=model.model_id
            )
        return _version_record(made)

    def version(self, name: str, number: int) -> VersionRecord:
        """A registered version; raises UsageError for an unknown name or version."""
        from mlflow.exceptions import MlflowException

        with _one_line(self.uri):
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
        with _one_line(self.uri):
            known = [found for found in self._versions(name) if "best_val_accuracy" in found.tags]
            if not known:
                names = ", ".join(model.name for model in self._client.search_registered_models()) or "none"
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

    def registered_name(self, run_id: str) -> str | None:
        """The registered model that holds a run's model, if there is one."""
        with _one_line(self.uri):
            found = self._client.search_model_versions(f"run_id = {_quoted(run_id)}")
        return found[0].name if found else None

    def versions_by_run(self) -> dict[str, int]:
        """The latest registry version of each run that has one."""
        with _one_line(self.uri):
            return {str(found.run_id): int(found.version) for found in reversed(self._versions())}

    def _versions(self, name: str | None = None) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token = None
        while True:
            text = f"name = {_quoted(name)}" if name else None
            page = self._client.search_model_versions(text, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def set_alias(self, model: VersionRecord, alias: str) -> None:
        """Point an alias at a registered version."""
        with _one_line(self.uri):
            self._client.set_registered_model_alias(model.registered_name, alias, str(model.version))

    def tag_version(self, model: VersionRecord, tags: Mapping[str, str]) -> None:
        """Set tags on a registered version."""
        with _one_line(self.uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(model.registered_name, str(model.version), key, value)

    def download_keras(self, model: ModelRecord, folder: Path) -> Path:
        """Fetch a kept model's `.keras` file into a folder."""
        from mlflow.artifacts import download_artifacts

        with _one_line(self.uri):
            location = self._client.get_logged_model(model.model_id).artifact_location
            path = download_artifacts(
                artifact_uri=f"{location}/{MODEL_FILE}", dst_path=str(folder), tracking_uri=_absolute(self.uri)
            )
        return Path(path)

    def attach(self, model: ModelRecord, folder: Path) -> None:
        """Add a folder's files to those of a kept model."""
        with _one_line(self.uri):
            self._client.log_model_artifacts(model.model_id, str(folder))

    def _log(
        self,
        run_id: str,
        *,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
    ) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, step) for key, value in (metrics or {}).items()],
            params=[Param(key, value) for key, value in (params or {}).items()],
        )


def _final_metrics(result: RunResult) -> dict[str, float]:
    return {
        "best_epoch": result.best_epoch,
        "best_val_accuracy": result.best_val_accuracy,
        "best_val_loss": result.best_val_loss,
        "keras_bytes": result.keras_bytes,
        "latency_ms": result.latency_ms,
        "images_per_second": result.images_per_second,
    }


def _run_params(config: RunConfig) -> dict[str, str]:
    return {key: str(value) for key, value in asdict(config).items()}


def _run_tags(dataset: Dataset, environment: Environment) -> dict[str, str]:
    return _source_tags() | {
        "dataset_digest": dataset.digest,
        "val_images": str(len(dataset.val)),  # for the interval of val_accuracy
        "host": environment.host,
        "processor": environment.processor,
        "threads": str(environment.threads),
    }


def _source_tags() -> dict[str, str]:
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        user = "unknown"
    tags = {"mlflow.user": user, "mlflow.source.name": "pocketnets", "mlflow.source.type": "LOCAL"}
    if (commit := git_commit()) != "unknown":
        tags["mlflow.source.git.commit"] = commit
    return tags | {f"version.{package}": number for package, number in versions().items()}


def _write_keras_flavor(folder: Path, result: RunResult, model_id: str, run_id: str) -> None:
    """Write the folder that MLflow's Keras flavor would, from the `.keras` file alone."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    data = folder / MODEL_FILE
    data.parent.mkdir()
    data.write_bytes(result.keras_file.read_bytes())
    (data.parent / "keras_module.txt").write_text("keras")
    found = versions()
    packages = ("tensorflow", "keras", "numpy")
    (folder / "requirements.txt").write_text(
        "".join(f"{package}=={found[package]}\n" for package in packages if package in found)
    )
    (folder / "python_env.yaml").write_text(
        json.dumps({"python": found["python"], "dependencies": ["-r requirements.txt"]})  # JSON is YAML
    )
    model = Model(model_uuid=model_id, run_id=run_id, model_id=model_id)
    model.signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *result.input_shape))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, result.num_classes))]),
    )
    model.add_flavor(
        "keras", data="data", keras_version=found["keras"], keras_backend="tensorflow", save_exported_model=False
    )
    pyfunc.add_to_model(model, loader_module="mlflow.keras", python_env="python_env.yaml")
    model.model_size_bytes = result.keras_bytes
    model.save(str(folder / "MLmodel"))


def _record(run) -> RunRecord:  # type: ignore[no-untyped-def]  # mlflow.entities.Run
    return RunRecord(
        run.info.run_id, run.info.run_name, run.info.status, run.data.params, run.data.metrics, run.data.tags
    )


def _version_record(found: ModelVersion) -> VersionRecord:
    """A version's record; the tags are those that `register` sets."""
    if not {"keras_sha256", "model_id"} <= found.tags.keys():
        raise ProjectError(f"Version {found.version} of {found.name!r} was not registered by a sweep or a trial.")
    tags = found.tags
    return VersionRecord(tags["model_id"], str(found.run_id), tags["keras_sha256"], found.name, int(found.version))


def _remove_local(location: str, model_id: str) -> None:
    """Remove a model's folder of artifacts where it lies on this machine."""
    path = Path(url2pathname(urlparse(location).path)) if location.startswith("file:") else Path(location)
    if model_id in path.parts and path.is_dir():
        shutil.rmtree(path, ignore_errors=True)


def _quoted(text: str) -> str:
    """A string literal of MLflow's search language, which has no escapes: a name with both quotes cannot be asked for.

    >>> _quoted("it's")
    '"it\\'s"'
    """
    if "'" not in text:
        return f"'{text}'"
    if '"' in text:
        raise UsageError(f"Name {text!r} holds both kinds of quotes: MLflow cannot search for it.")
    return f'"{text}"'


def _absolute(uri: str) -> str:
    """A SQLite URI with its path made absolute: MLflow keeps one engine per URI, whatever folder is current later."""
    path = sqlite_path(uri)
    return f"sqlite:///{path.absolute()}{uri[uri.index('?') :] if '?' in uri else ''}" if path else uri


def _make_store(uri: str) -> None:
    """Make MLflow's tables: some forty migrations, which no signal or crash may leave half done."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)


def _check_reachable(uri: str) -> None:
    """Fail at once where MLflow would retry for minutes: a server that does not answer, a database without a folder."""
    import socket

    parsed = urlparse(uri)
    if parsed.scheme in {"http", "https"}:
        try:
            port = parsed.port or (443 if parsed.scheme == "https" else 80)
            socket.create_connection((parsed.hostname or "", port), timeout=CONNECT_SECONDS).close()
        except ValueError:
            raise UsageError(f"The tracking server {uri} is not a valid URL.") from None
        except OSError as error:
            raise TrackingError(f"The tracking server {uri} cannot be reached: {error.strerror or error}.") from None
    elif path := sqlite_path(uri):
        path = path.absolute()
        if not path.parent.is_dir() or path.is_dir():
            raise TrackingError(
                f"The tracking store {uri} cannot be opened: {path} is not a file in an existing folder."
            )
        place = path if path.exists() else path.parent
        if not os.access(place, os.W_OK):
            raise TrackingError(f"The tracking store {uri} cannot be opened: {place} is not writable.")
    elif not parsed.scheme or parsed.scheme == "file":
        raise TrackingError(
            f"The tracking store {uri} is a folder, which MLflow 3 no longer writes. "
            f"Give a database or a server: {DEFAULT_URI}, http://127.0.0.1:5000."
        )


@contextmanager
def _one_line(uri: str) -> Iterator[None]:
    """Turn whatever MLflow or its database raises into one line."""
    try:
        yield
    except (ProjectError, KeyboardInterrupt, GeneratorExit):
        raise
    except OSError as error:
        if error.errno is not None:  # a full disk, a missing permission: says enough by itself
            raise
        raise TrackingError(f"The tracking store {uri} failed: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise TrackingError(f"The tracking store {uri} failed: {text}") from error
