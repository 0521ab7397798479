"""One MLflow store: what it holds, by kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from experiments.locks import StillHeld
from experiments.tracking.counted_looks import TestAccess
from experiments.tracking.mlflow_pages import VIEW, VIEWS, runs_page
from experiments.tracking.models import Models
from experiments.tracking.parents import Parents
from experiments.tracking.promotions import Promotions
from experiments.tracking.registry import Registry
from experiments.tracking.repair import Repair
from experiments.tracking.runs import Runs
from experiments.tracking.selections import Selections
from experiments.tracking.store import Store
from experiments.tracking.writer import Writer


class Tracker:
    """Writes and reads runs, models, versions and promotions of one MLflow store."""

    def __init__(self, uri: str, *, create: bool = True, write: bool = True) -> None:
        """Connect; arguments and errors as for `Store`."""
        store = Store(uri, create=create, write=write)
        self.uri, self._store = uri, store
        self.runs = Runs(store)
        self.selections = Selections(store)
        self.models = Models(store)
        self.registry = Registry(store, self.models)
        self.promotions = Promotions(store, self.registry, self.models)
        self.writer = Writer(store, self.runs, self.models)
        self.parents = Parents(store, self.writer)
        self.repair = Repair(store)
        self.test_access = TestAccess(store)

    def experiment(self, name: str) -> str:
        """Return the id of the experiment `name`, and create it if there is none; raise ExperimentDeleted."""
        return self._store.experiment(name)

    def runs_pages(self, server: str) -> dict[str, str]:
        """Return the page of each experiment of training runs, by name, on a server of this store."""
        held = self._store.client.search_experiments()
        return {each.name: runs_page(server, each.experiment_id) for each in held if VIEWS + VIEW in each.tags}

    def check_reachable(self) -> None:
        """Raise TrackingUnavailable at once if the store's server cannot be reached."""
        self._store.check_reachable()

    def limit_lock_timeout(self) -> None:
        """As `Store.limit_lock_timeout`, for callers that retry while the store is locked."""
        self._store.limit_lock_timeout()

    @contextmanager
    def promotion_lock(self, purpose: str) -> Iterator[StillHeld]:
        """As `Store.promotion_lock`."""
        with self._store.promotion_lock(purpose) as check:
            yield check
