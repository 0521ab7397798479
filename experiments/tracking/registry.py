"""The registry: models by name, their versions, aliases and tags."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from architectures.errors import ProjectError, UsageError
from experiments.objective import OBJECTIVES, final, score
from experiments.tracking.guard import EXISTS, MISSING, TrackingError, store_errors
from experiments.tracking.mlflow_pages import of_kept_models, of_run
from experiments.tracking.models import Models
from experiments.tracking.promotion_lock import TICKETS
from experiments.tracking.records import ModelRecord, VersionFacts, VersionRecord, run_record
from experiments.tracking.store import AT_ONCE, Store, quoted

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE = "candidate"  # alias: the best of the last sweep
CHAMPION = "champion"  # alias: the promoted version
IN_A_DATABASE = 500  # ids in one search of a database


class Registry:
    """Registered models and their versions."""

    def __init__(self, store: Store, models: Models) -> None:
        self._store, self._client = store, store.client
        self._models = models

    def register(self, name: str, model: ModelRecord) -> VersionRecord:
        """Return the registry version of a kept model, and create it if there is none yet.

        Raises:
            ProjectError: if the model is being removed.
        """
        if known := self.registered(name, model):
            return known
        run = run_record(self._client.get_run(model.run_id))
        tags = {
            "model_id": model.model_id,
            "architecture": run.params["architecture"],
            "dataset": run.params["dataset"],
            "dataset_digest": run.tags["dataset_digest"],
            "keras_sha256": model.keras_sha256,
            **{final(one): repr(run.metrics[final(one)]) for one in OBJECTIVES if final(one) in run.metrics},
            "objective": run.params.get("objective", "val_accuracy"),
            "expected_coreml_bytes": str(int(run.metrics["coreml_bytes"])),
        }
        if "study" in run.tags:
            tags["study"] = run.tags["study"]
        made = self.add_version(
            name,
            model.model_id,
            model.run_id,
            tags,
            about=of_kept_models(run.params["dataset"]),
            description=of_run(run),
        )
        if self._models.is_removed(model):
            self._client.delete_model_version(name, made.version)
            raise ProjectError(f"The model of run {model.run_id} has been removed since: nothing needed it.")
        return _version_record(made)

    def registered(self, name: str, model: ModelRecord) -> VersionRecord | None:
        """Return the version of a registered model that holds a kept model, if there is one."""
        for known in self._client.search_model_versions(f"run_id = {quoted(model.run_id)}"):
            if known.name == name and _is_kept_model(known):
                return _version_record(known)
        return None

    def add_version(
        self, name: str, model_id: str, run_id: str, tags: Mapping[str, str], *, about: str, description: str
    ) -> ModelVersion:
        """Register an MLflow LoggedModel under a name, which is created if it does not exist.

        Args:
            about: the description of the registered model, if it is created here.
        """
        try:
            self._client.create_registered_model(name, description=about)
        except TrackingError as error:
            if error.code != EXISTS:
                raise
        source = f"models:/{model_id}"
        if not self._store.uri.startswith("http"):
            # MLflow 3.17 looks up such a source in the global store, whichever store this client uses.
            source = self._client.get_logged_model(model_id).artifact_location
        return self._client.create_model_version(
            name, source, run_id=run_id, tags=dict(tags), description=description, model_id=model_id
        )

    def version(self, name: str, number: int) -> VersionRecord:
        """Return a registered version; raise UsageError for an unknown name or version."""
        try:
            return _version_record(self._client.get_model_version(name, str(number)))
        except TrackingError as error:
            if error.code != MISSING:
                raise
            known = sorted(int(v.version) for v in self._store.versions(name))
            choices = f"Its versions: {', '.join(map(str, known))}." if known else "It has no versions."
            raise UsageError(f"Unknown version {number} of registered model {name!r}. {choices}") from None

    def best(self, name: str) -> VersionRecord:
        """Return the best version: by the objective of the latest one, then the smallest file, then the oldest."""
        known = [found for found in self._store.versions(name) if is_ranked(found.tags)]
        if not known:
            names = ", ".join(self.registered_names()) or "none"
            raise UsageError(
                f"Registered model {name!r} has no version in {self._store.uri} (registered models: {names}). "
                f"Run python -m search.sweep first, or name another: --model."
            )
        objective = ranked_by(known)
        return _version_record(min(known, key=lambda found: version_merit(found.tags, int(found.version), objective)))

    def registered_names(self) -> list[str]:
        """Return the names of all registered models."""
        names: list[str] = []
        token = None
        while True:
            page = self._client.search_registered_models(page_token=token)
            names += [model.name for model in page if model.name != TICKETS]
            token = page.token
            if not token:
                return names

    def registered_name(self, run_id: str) -> str | None:
        """Return the registered model that holds a run's model, if there is one."""
        return next(iter(self.registered_as(run_id)), None)

    def registered_as(self, run_id: str) -> tuple[str, ...]:
        """Return all registered models that hold a run's model."""
        found = self._client.search_model_versions(f"run_id = {quoted(run_id)}")
        return tuple(dict.fromkeys(version.name for version in found if _is_kept_model(version)))

    def versions_of(self, run_ids: Sequence[str]) -> dict[str, VersionFacts]:
        """Return the latest registry version of each of these runs that has one."""
        found: list[ModelVersion] = []
        many = AT_ONCE if self._store.uri.startswith("http") else IN_A_DATABASE
        for start in range(0, len(run_ids), many):
            ids = ", ".join(map(quoted, run_ids[start : start + many]))
            found += self._store.search_versions(f"run_id IN ({ids})")
        return {facts.run_id: facts for facts in reversed(self._facts(found))}

    def versions(self, name: str) -> list[VersionFacts]:
        """Return the versions of a registered model that are kept models; raise UsageError for an unknown name."""
        found = self._store.versions(name)
        if not found and name not in (known := self.registered_names()):
            raise UsageError(f"Unknown registered model {name!r} in {self._store.uri}. It holds: {', '.join(known)}.")
        return self._facts(found)

    def _facts(self, found: Sequence[ModelVersion]) -> list[VersionFacts]:
        """Return versions with their aliases, which MLflow's search leaves out."""
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

    def champion(self, name: str) -> VersionRecord | None:
        """Return the promoted version of a registered model, if there is one."""
        try:
            aliases = self._client.get_registered_model(name).aliases
        except TrackingError as error:
            if error.code != MISSING:
                raise
            return None
        return self.version(name, int(aliases[CHAMPION])) if CHAMPION in aliases else None

    def set_alias(self, model: VersionRecord, alias: str) -> None:
        """Point an alias at a registered version."""
        self.set_alias_of(model.registered_name, alias, model.version)

    def tag_version(self, model: VersionRecord, tags: Mapping[str, str]) -> None:
        """Set tags on a registered version."""
        self.tag(model.registered_name, model.version, tags)

    def set_alias_of(self, name: str, alias: str, number: int) -> None:
        self._client.set_registered_model_alias(name, alias, str(number))

    def tag(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        registry = self._client._get_registry_client()  # for each tag, the client itself would read the whole model
        with store_errors(self._store.uri):
            for key, value in tags.items():
                registry.set_model_version_tag(name, str(number), key, value)


def _is_kept_model(found: ModelVersion) -> bool:
    """Return whether `register` made a version; a promotion's version has the same run, but holds a Core ML file."""
    return {"keras_sha256", "model_id"} <= found.tags.keys()


def is_ranked(tags: Mapping[str, str]) -> bool:
    """Return whether a version's tags have the figures that it is chosen by."""
    try:
        return math.isfinite(float(tags["best_val_accuracy"])) and int(tags["expected_coreml_bytes"]) > 0
    except (KeyError, ValueError):
        return False


def ranked_by(versions: Iterable[ModelVersion | VersionFacts]) -> str:
    """Return the objective that ranks the versions of a registered model: that of the latest one."""
    latest = max(versions, key=lambda version: int(version.version), default=None)
    named = latest.tags.get("objective") if latest else None
    return named if named in OBJECTIVES else "val_accuracy"


def version_merit(tags: Mapping[str, str], number: int, objective: str) -> tuple[bool, float, float, int, int]:
    """Return a sort key for versions, the best first; versions without the objective come last."""
    value = _number(tags, final(objective))
    return (
        value is None,
        -score(objective, value or 0.0),
        -float(tags["best_val_accuracy"]),
        int(tags["expected_coreml_bytes"]),
        number,
    )


def _number(tags: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(tags[key])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _version_record(found: ModelVersion) -> VersionRecord:
    """Return a version's record, from the tags that `register` sets."""
    if not _is_kept_model(found):
        raise ProjectError(f"Version {found.version} of {found.name!r} was not registered by a sweep or a trial.")
    tags = found.tags
    return VersionRecord(tags["model_id"], str(found.run_id), tags["keras_sha256"], found.name, int(found.version))
