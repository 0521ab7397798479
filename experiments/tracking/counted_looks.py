"""Record each use of test images (a look), whatever its result, as an MLflow run of the experiment `test-looks`.

A test split shows how a model does on unseen images as long as nobody makes choices by it; the number of looks shows
how far that still holds. Runs are what any number of processes can add to any MLflow store without losing one, and
deleting another experiment keeps the looks. A look is recorded before the images are returned, so failed, refused and
dry runs count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from experiments.datasets import Dataset, Split
from experiments.tracking.inputs import as_dataset_input, dataset_facts, log_input
from experiments.tracking.source import source_tags
from experiments.tracking.store import Store, check_not_deleted, quoted

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "test-looks"
ABOUT = (
    "One run per use of a data set's test images: the command, the data and the model. A test split is only meaningful "
    "while nobody makes choices based on it, so every use is counted. Nothing is trained here."
)
EARLIER_SHOWN = 20


@dataclass(frozen=True)
class LookRecord:
    """One look at a test split."""

    number: int  # among the looks at this split, from 1
    command: str
    at: str  # UTC
    run_id: str  # whose model was tested; empty if it was not a run's model
    look_id: str  # of the look's own MLflow run


@dataclass(frozen=True)
class Look:
    """The record of a use of a data set's test images, with earlier looks."""

    number: int
    dataset: str
    dataset_digest: str
    look_id: str  # of the look's own MLflow run
    earlier: tuple[LookRecord, ...]  # the last looks before it, at most EARLIER_SHOWN

    @property
    def text(self) -> str:
        """One line for people."""
        return (
            f"use number {self.number:,} of the test split of {self.dataset}, digest {self.dataset_digest[:12]} "
            f"(MLflow experiment {EXPERIMENT}, run {self.look_id})"
        )


class TestAccess:
    """The recorded uses of test images in one store."""

    def __init__(self, store: Store) -> None:
        self._store, self._client = store, store.client

    def look(self, dataset: Dataset, *, command: str, run_id: str = "", source: str = "") -> tuple[Split, Look]:
        """Record a look, then return the test images: the only way to get them.

        Args:
            command: that uses them, `conversion.promote` for instance.
            run_id: of the model that is tested, if it is a run's.
            source: what `datasets.load` loads the data from; the data set's name if not given.

        Raises:
            TrackingError: if the look cannot be recorded; then no images are returned.
        """
        experiment_id = self._store.experiment(EXPERIMENT, ABOUT)
        tags = {"dataset": dataset.name, "dataset_digest": dataset.digest, "command": command, "run_id": run_id}
        made = self._client.create_run(experiment_id, run_name=f"{command} {dataset.name}", tags=source_tags() | tags)
        look_id = made.info.run_id
        facts = dataset_facts(dataset, source or dataset.name)
        log_input(self._client, look_id, as_dataset_input(facts, context="testing"))
        self._client.set_terminated(look_id, "FINISHED")
        looks = self.looks(dataset.digest)
        before = next(place for place, look in enumerate(looks) if look.look_id == look_id)
        earlier = looks[max(0, before - EARLIER_SHOWN) : before]
        return dataset.test, Look(before + 1, dataset.name, dataset.digest, look_id, earlier)

    def looks(self, digest: str) -> tuple[LookRecord, ...]:
        """Return all uses of the test split of the data with this digest, the earliest first."""
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found:
            check_not_deleted(found)
        runs: list[Run] = []
        token = None
        while found:
            text = f"tags.dataset_digest = {quoted(digest)}"
            page = self._client.search_runs([found.experiment_id], text, page_token=token, max_results=1000)
            runs += page
            token = page.token
            if not token:
                break
        runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
        return tuple(
            LookRecord(
                number=number,
                command=run.data.tags.get("command", ""),
                at=datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat(timespec="seconds"),
                run_id=run.data.tags.get("run_id", ""),
                look_id=run.info.run_id,
            )
            for number, run in enumerate(runs, 1)
        )
