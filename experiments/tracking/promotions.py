"""The history of promotions: for a registered model NAME, the versions of NAME-coreml.

Each promotion is a version, whose files are an MLflow model that executes the promoted Core ML file, and the evidence.
So the same kept model can be promoted several times with different options, and no promotion is overwritten. The alias
`champion` of NAME is on the promoted kept model, that of NAME-coreml on the current promotion of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from experiments.tracking.coreml_flavor import ServedFile, write_coreml_flavor
from experiments.tracking.guard import MISSING, TrackingError, unless_missing
from experiments.tracking.mlflow_pages import of_promotion, of_promotions
from experiments.tracking.models import COREML_SUFFIX, Models
from experiments.tracking.records import VersionRecord
from experiments.tracking.registry import CHAMPION, Registry
from experiments.tracking.store import Store, quoted

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

SHA256_TAG = "coreml_sha256"  # of a promotion, and of the kept model: that of its last promotion
PLACE_TAG = "place"  # of a promotion: where its file was last put, on any machine
PROMOTION_TAGS = {"model_id", "source_version", "file_name", SHA256_TAG}  # versions added by hand lack them
BEGUN_TAG = "promotion_begun"  # of a registered model: the promotion in progress, as a Begun
ABANDONED_TAG = "abandoned_at"  # of a promotion that was never completed
EVIDENCE = ("promotion.json", "promotion.html")


@dataclass(frozen=True)
class PromotionRecord:
    """One promotion as the registry holds it."""

    name: str  # registered model of the promotions
    number: int  # its version there
    model_id: str  # of the LoggedModel that holds the file and the evidence
    source: int  # version of the kept model that was promoted
    file_name: str
    sha256: str  # of the Core ML file
    previous: int | None  # number of the promotion that it replaced
    tags: Mapping[str, str]

    @property
    def source_name(self) -> str:
        """The registered model whose version was promoted."""
        return self.name.removesuffix(COREML_SUFFIX)

    @property
    def abandoned(self) -> bool:
        """Whether its process died before it was completed."""
        return ABANDONED_TAG in self.tags


@dataclass(frozen=True)
class Current:
    """The champion and its promotion at one moment."""

    version: int | None  # the champion; None: there is none
    promotion: int | None  # that made it champion; None also if the alias was set by hand


@dataclass(frozen=True)
class Begun:
    """A promotion or rollback in progress, with what another process needs to complete or undo it."""

    found: int | None  # number of the promotion that was current
    last: int  # highest number of a promotion before: a higher one belongs to this promotion
    target: int | None  # the promotion that a rollback makes current; None for a promotion, which creates its own
    place: str  # of the file, absolute
    stood: str | None  # SHA-256 of the file that was there
    host: str


class Promotions:
    """Promotions of one store."""

    def __init__(self, store: Store, registry: Registry, models: Models) -> None:
        self._store, self._client = store, store.client
        self._registry = registry
        self._models = models

    def current(self, name: str) -> Current:
        """Return the current champion and promotion of a registered model."""
        champion = self._registry.champion(name)
        if champion is None:
            return Current(None, None)
        try:
            return Current(champion.version, self.current_promotion(champion).number)
        except TrackingError:
            raise
        except ProjectError:  # the alias was set by hand
            return Current(champion.version, None)

    def all(self, name: str) -> list[PromotionRecord]:
        """Return all promotions of a registered model by number, including abandoned ones."""
        found = [each for each in self._store.versions(name + COREML_SUFFIX) if each.tags.keys() >= PROMOTION_TAGS]
        return sorted(map(_promotion_record, found), key=lambda promotion: promotion.number)

    def begin(self, name: str, begun: Begun) -> None:
        """Record on a registered model what is about to be written, and what was found."""
        self._client.set_registered_model_tag(name, BEGUN_TAG, json.dumps(asdict(begun)))

    def begun(self, name: str) -> Begun | None:
        """Return what was begun and has not ended; under the promotion lock, its process is dead."""
        try:
            text = self._client.get_registered_model(name).tags.get(BEGUN_TAG)
        except TrackingError as error:
            if error.code != MISSING:
                raise
            return None
        return Begun(**json.loads(text)) if text else None

    def ended(self, name: str) -> None:
        """Record that a promotion or rollback has ended, completed or not."""
        self._client.delete_registered_model_tag(name, BEGUN_TAG)

    def abandon(self, promotion: PromotionRecord, tags: Collection[str]) -> None:
        """Mark a promotion as never completed, and give its version the `tags` of the last completed one, if any."""
        self._registry.tag(
            promotion.name, promotion.number, {ABANDONED_TAG: datetime.now(UTC).isoformat(timespec="seconds")}
        )
        name = promotion.source_name
        others = [each for each in self.all(name) if each.source == promotion.source and not each.abandoned]
        version = self._client.get_model_version(name, str(promotion.source))
        if version.tags.get(SHA256_TAG) != promotion.sha256:
            return
        for key in version.tags.keys() & tags:
            if others:
                self._client.set_model_version_tag(name, version.version, key, others[-1].tags[key])
            else:
                with unless_missing():  # gone already
                    self._client.delete_model_version_tag(name, version.version, key)

    def current_promotion(self, champion: VersionRecord) -> PromotionRecord:
        """Return the promotion that made a version champion.

        It is identified by the digest in the version's tags, and among equal files by the alias on the promotions,
        which may be ahead of the champion's if a process was killed between moving the two.

        Raises:
            ProjectError: if there is none, because somebody set the alias or the tag by hand.
        """
        name = champion.registered_name + COREML_SUFFIX
        version = self._client.get_model_version(champion.registered_name, str(champion.version))
        sha256 = version.tags.get(SHA256_TAG)
        made = [_promotion_record(found) for found in self._store.versions(name) if found.tags.keys() >= PROMOTION_TAGS]
        made = [each for each in made if each.source == champion.version and each.sha256 == sha256]
        made = [each for each in made if not each.abandoned]
        if not made:
            digest = f" of a file with SHA-256 {sha256[:12]}..." if sha256 else ""
            raise ProjectError(
                f"version {champion.version} of {champion.registered_name} has the alias {CHAMPION}, but {name} "
                f"holds no promotion of it{digest}"
            )
        current = int(self._client.get_registered_model(name).aliases.get(CHAMPION, 0))
        return max(made, key=lambda each: (each.number == current, each.number))

    def promoted_as(self, sha256: str, path: Path) -> tuple[str, ...]:
        """Return the registered models that a file with this SHA-256 was promoted for.

        A model that is registered twice gives the same bytes twice: if one of the files was put at `path`, only the
        model of that one is returned.
        """
        found = self._store.search_versions(f"tags.{SHA256_TAG} = {quoted(sha256)}")
        made = [version for version in found if version.tags.keys() >= PROMOTION_TAGS]
        here = [version for version in made if version.tags.get(PLACE_TAG) == str(path.absolute())]
        return tuple(sorted({version.name.removesuffix(COREML_SUFFIX) for version in here or made}))

    def get(self, name: str, number: int) -> PromotionRecord:
        """Return a promotion by its number; raise TrackingError if the registry does not have it."""
        return _promotion_record(self._client.get_model_version(name, str(number)))

    def log_promotion(
        self, version: VersionRecord, served: ServedFile, evidence: Path, tags: Mapping[str, str], previous: int | None
    ) -> PromotionRecord:
        """Store a promotion of a version: its file as an MLflow model, and its evidence from a folder.

        Nothing points to it yet: see `make_champion`.
        """
        from mlflow.entities import LoggedModelStatus

        name = version.registered_name + COREML_SUFFIX
        tags = {
            **tags,
            "source_model": version.registered_name,
            "source_version": str(version.version),
            "file_name": served.file.name,
            **({} if previous is None else {"previous_promotion": str(previous)}),
        }
        with scratch_folder() as folder:
            run = self._client.get_run(version.run_id)
            model = self._client.create_logged_model(
                experiment_id=run.info.experiment_id,
                name="coreml",
                source_run_id=version.run_id,
                tags=tags,
                model_type="coreml",
            )
            write_coreml_flavor(folder, served, model_id=model.model_id, run_id=version.run_id)
            for part in EVIDENCE:
                (folder / part).write_bytes((evidence / part).read_bytes())
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            made = self._registry.add_version(
                name,
                model.model_id,
                version.run_id,
                {**tags, "model_id": model.model_id},
                about=of_promotions(version.registered_name),
                description=of_promotion(version, tags),
            )
        return _promotion_record(made)

    def make_champion(self, promotion: PromotionRecord, version: VersionRecord, tags: Mapping[str, str]) -> None:
        """Make a promotion of a version the current one: the champion's alias moves last."""
        self._registry.set_alias_of(promotion.name, CHAMPION, promotion.number)
        self._registry.tag_version(version, tags)
        self._registry.set_alias(version, CHAMPION)

    def is_champion(self, promotion: PromotionRecord) -> bool:
        """Return whether both aliases point to a promotion and its version, and the version has its tags."""
        name = promotion.source_name
        champion = self._registry.champion(name)
        if champion is None or champion.version != promotion.source:
            return False
        current = self._client.get_registered_model(promotion.name).aliases.get(CHAMPION)
        version = self._client.get_model_version(name, str(promotion.source))
        return (str(current), version.tags.get(SHA256_TAG)) == (str(promotion.number), promotion.sha256)

    def remove_champion(self, name: str) -> None:
        """Remove the alias of a first promotion that was not completed."""
        with unless_missing():  # it was not set yet
            self._client.delete_registered_model_alias(name + COREML_SUFFIX, CHAMPION)

    def download_promotion(self, promotion: PromotionRecord, folder: Path) -> Path:
        """Fetch a promotion's Core ML file and evidence into a folder; the caller must check the file's digest.

        Returns:
            The path of the Core ML file or package.

        Raises:
            TrackingError: if they cannot be fetched.
        """
        self._models.download(promotion.model_id, promotion.file_name, folder)
        self.download_evidence(promotion, folder)
        return folder / promotion.file_name

    def download_evidence(self, promotion: PromotionRecord, folder: Path) -> None:
        """Fetch `promotion.json` and `promotion.html` into a folder; raise TrackingError if they cannot be fetched."""
        for part in EVIDENCE:
            self._models.download(promotion.model_id, part, folder)


def _promotion_record(found: ModelVersion) -> PromotionRecord:
    tags = found.tags
    try:
        previous = tags.get("previous_promotion")
        return PromotionRecord(
            name=found.name,
            number=int(found.version),
            model_id=tags["model_id"],
            source=int(tags["source_version"]),
            file_name=Path(tags["file_name"]).name,  # without folders, because it is joined to one of ours
            sha256=tags[SHA256_TAG],
            previous=None if previous is None else int(previous),
            tags=tags,
        )
    except (KeyError, ValueError) as error:
        raise ProjectError(
            f"Version {found.version} of {found.name!r} was not made by a promotion ({error})."
        ) from None
