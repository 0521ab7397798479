"""The connection to one MLflow store: a database or a server."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, cast
from urllib.parse import urlparse
from urllib.request import url2pathname

from architectures.errors import UsageError
from architectures.redaction import learn
from experiments.config import DEFAULT_TRACKING_URI
from experiments.databases import exclusive, make_database, sqlite_path
from experiments.locks import StillHeld
from experiments.tracking.guard import ExperimentDeleted, Guarded, TrackingError, TrackingUnavailable, store_errors
from experiments.tracking.mlflow_pages import DEFAULT, NOTE, OF_TRAINING, experiment_tags, missing_tags
from experiments.tracking.promotion_lock import promotion_lock
from experiments.tracking.records import RunRecord, run_record
from experiments.tracking.rows import read_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

PAGE = 1_000  # runs or versions that are read at once if all are needed
AT_ONCE = 50  # ids in one search, which must fit into a server's URL
CONNECT_SECONDS = 5  # after which an unreachable server is reported
ANSWER_SECONDS = 30  # after which a server that does not answer is reported
AWAY = {407, 502, 503, 504}  # status codes of a proxy or a gateway, not of the server
MLFLOW_TIMEOUT = "PRAGMA busy_timeout = 20000"
BUSY_SECONDS = 3  # that a sweep lets SQLite wait for another process's write
SHORTENED = "before_cursor_execute"  # SQLAlchemy's event
GROWTH = 4  # factor by which the number of runs grows before ANALYZE runs again
ANALYZED_ROWS = 400  # of each index: an estimate within milliseconds, as SQLite's manual recommends


class Store:
    """One MLflow store. Nothing global is changed: `mlflow.set_tracking_uri` would also set MLFLOW_TRACKING_URI."""

    def __init__(self, uri: str, *, create: bool = True, write: bool = True) -> None:
        """Connect.

        Args:
            uri: a database or a server.
            create: whether to create a missing SQLite file; commands that only read raise instead.
            write: whether it will be written to; False accepts a read-only SQLite file.

        Raises:
            TrackingError: if the store cannot be reached or opened.

        >>> from experiments.tracking import Tracker
        >>> Tracker("sqlite:///missing.db", create=False)
        Traceback (most recent call last):
        experiments.tracking.guard.TrackingError: The tracking store sqlite:///missing.db does not exist. ...
        """
        self.uri = uri
        learn(uri)
        _check_reachable(uri, write=write)
        uri = absolute(uri)
        path = sqlite_path(uri)
        if path and (not path.exists() or not path.stat().st_size):  # a reader may have left an empty file
            if not create:
                missing = "is empty" if path.exists() else "does not exist"
                raise TrackingError(f"The tracking store {self.uri} {missing}. Run python -m search.sweep first.")
            with store_errors(self.uri), exclusive(uri, "tables"):
                if not path.exists() or not path.stat().st_size:  # another process was first
                    make_database(path, _make_store)
        with store_errors(uri):
            from mlflow import MlflowClient

            # MLflow creates the tables of a new PostgreSQL database here, and fails if two processes do.
            with exclusive(uri, "mlflow") if uri.startswith("postgresql") else nullcontext():
                self._unguarded = MlflowClient(tracking_uri=uri, registry_uri=uri)
                self._unguarded.search_experiments(max_results=1)
        self.client = cast("MlflowClient", Guarded(self._unguarded, self.uri))

    def limit_lock_timeout(self) -> None:
        """Shorten SQLite's lock timeout to BUSY_SECONDS; Ctrl-C has no effect during it.

        MLflow 3 sets 20 s in each session. For callers that retry.
        """
        from sqlalchemy import event

        def shortened(_c: object, _k: object, statement: str, parameters: object, *_: object) -> tuple[str, object]:
            return statement.replace(MLFLOW_TIMEOUT, f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}"), parameters

        for client in (self.client._tracking_client, self.client._get_registry_client()):
            engine = getattr(client.store, "engine", None)
            if engine is not None and sqlite_path(self.uri) and not event.contains(engine, SHORTENED, shortened):
                event.listen(engine, SHORTENED, shortened, retval=True)

    def check_reachable(self) -> None:
        """Raise TrackingUnavailable at once if the store's server cannot be reached."""
        try:
            _check_reachable(self.uri)
        except TrackingError as error:
            raise TrackingUnavailable(str(error)) from None

    def update_statistics(self) -> None:
        """Run ANALYZE on a SQLite store that has grown since: MLflow never does.

        Without it SQLite takes seconds to order 10,000 runs by a metric, with it a tenth of a second. If another
        process writes, or the file may not be written, this is left for the next time.
        """
        if not (path := sqlite_path(absolute(self.uri))):
            return
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=1)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
            (analyzed,) = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchone()
            if analyzed:
                known = database.execute("SELECT stat FROM sqlite_stat1 WHERE tbl = 'runs'").fetchone()
                if known and int(known[0].split()[0]) * GROWTH >= runs:
                    return
            database.execute(f"PRAGMA analysis_limit = {ANALYZED_ROWS}")
            database.execute("ANALYZE")
            database.commit()

    def experiment(self, name: str, about: str = "") -> str:
        """Return the id of the experiment `name`, and create it if there is none.

        Its description is set to `about`, or to that of training runs, unless it has one.
        """
        tags = experiment_tags(about or OF_TRAINING, training=not about)
        found = self.client.get_experiment_by_name(name)
        if found:
            check_not_deleted(found)
            for key, value in missing_tags(found, tags).items():
                self.client.set_experiment_tag(found.experiment_id, key, value)
            return found.experiment_id
        try:
            made = self.client.create_experiment(name, tags=tags)
        except TrackingError:
            if other := self.client.get_experiment_by_name(name):  # another process was first
                return other.experiment_id
            raise
        self._explain_default()
        return made

    def _explain_default(self) -> None:
        """Set a description on MLflow's default experiment, which this project does not use, if it is empty."""
        found = self.client.get_experiment_by_name("Default")
        if not found or found.lifecycle_stage != "active" or NOTE in found.tags:
            return
        if not self.client.search_runs([found.experiment_id], max_results=1):
            for key, value in experiment_tags(DEFAULT, training=False).items():
                self.client.set_experiment_tag(found.experiment_id, key, value)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        at: float | None = None,
    ) -> None:
        """Write parameters, and metrics of a step; `at` is when they were measured (seconds since 1970)."""
        from mlflow.entities import Metric, Param

        now = int((at or time.time()) * 1000)
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, step) for key, value in (metrics or {}).items()],
            params=[Param(key, value) for key, value in (params or {}).items()],
        )

    @property
    def database(self) -> SqlAlchemyStore | None:
        """MLflow's access to the database of this store; None if the store is a server."""
        store = self.client._tracking_client.store
        return store if hasattr(store, "engine") else None

    def records(self, experiment_id: str, terms: list[str]) -> list[RunRecord]:
        """Return all runs that meet all terms, the latest first."""
        if self.database is None:
            return [run_record(run) for run in self.pages(experiment_id, terms, page=PAGE)]
        with store_errors(self.uri):
            return read_runs(self.database, experiment_id, " and ".join(terms))

    def pages(self, experiment_id: str, terms: list[str], *, page: int, order: str | None = None) -> Iterator[Run]:
        """Yield the runs that meet all terms, page by page."""
        token = None
        while True:
            found = self.client.search_runs(
                [experiment_id],
                " and ".join(terms),
                max_results=page,
                order_by=[order] if order else None,
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def experiment_id(self, name: str) -> str:
        """Return the id of an existing experiment; raise UsageError for an unknown name, or ExperimentDeleted."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            known = ", ".join(e.name for e in self.client.search_experiments()) or "none"
            raise UsageError(f"Unknown experiment {name!r} in {self.uri}. It holds: {known}.")
        check_not_deleted(found)
        return found.experiment_id

    def live_experiment(self, run_id: str) -> str:
        """Return the id of a run's experiment; raise ExperimentDeleted."""
        experiment_id = self.client.get_run(run_id).info.experiment_id
        check_not_deleted(self.client.get_experiment(experiment_id))
        return experiment_id

    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Return all versions of a registered model, or of all models."""
        return self.search_versions(f"name = {quoted(name)}" if name else None)

    def search_versions(self, text: str | None) -> list[ModelVersion]:
        """Return all versions that meet a condition in MLflow's search language."""
        found: list[ModelVersion] = []
        token = None
        while True:
            page = self.client.search_model_versions(text, max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def logged_models(self, experiment_ids: list[str]) -> Iterator[LoggedModel]:
        """Yield all LoggedModels of experiments, page by page."""
        token = None
        while True:
            page = self.client.search_logged_models(experiment_ids, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    @contextmanager
    def promotion_lock(self, purpose: str) -> Iterator[StillHeld]:
        """Hold the lock for writing aliases, files or the history of promotions, and for removing models.

        Yields:
            A function to call just before a write; it raises LockLost once another process holds the lock.
        """
        with ExitStack() as stack:
            with store_errors(self.uri):
                check = stack.enter_context(promotion_lock(self._unguarded, absolute(self.uri), purpose))
            yield check


def check_not_deleted(experiment: Experiment) -> None:
    """Raise ExperimentDeleted for a deleted experiment."""
    if experiment.lifecycle_stage == "deleted":
        raise ExperimentDeleted(
            f"MLflow experiment {experiment.name!r} is deleted. Restore it: mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}."
        )


def shown_place(location: str, name: str) -> str:
    """Return the place of a file among artifacts, as a person opens it.

    >>> shown_place("file:///home/me/mlruns/1/a%20b", "study/report.html")
    '/home/me/mlruns/1/a b/study/report.html'
    >>> shown_place("mlflow-artifacts:/1/models/m-2", "promotion.html")
    'mlflow-artifacts:/1/models/m-2/promotion.html'
    """
    if location.startswith("file:"):
        location = url2pathname(urlparse(location).path)
    return f"{location.rstrip('/')}/{name}"


def quoted(text: str) -> str:
    """Return a string literal of MLflow's search language; it has no escapes, so a text with both quotes is refused.

    >>> quoted("it's")
    '"it\\'s"'
    """
    if "'" not in text:
        return f"'{text}'"
    if '"' in text:
        raise UsageError(f"Name {text!r} holds both kinds of quotes: MLflow cannot search for it.")
    return f'"{text}"'


def absolute(uri: str) -> str:
    """Return a SQLite URI with an absolute path: MLflow keeps one engine per URI, even if the folder changes later."""
    path = sqlite_path(uri)
    return f"sqlite:///{path.absolute()}{uri[uri.index('?') :] if '?' in uri else ''}" if path else uri


def _make_store(uri: str) -> None:
    """Create MLflow's tables: some forty migrations, which a signal or crash must not interrupt."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)


def _check_reachable(uri: str, *, write: bool = True) -> None:
    """Fail at once if MLflow would retry for minutes: a server that does not answer, a database without a folder."""
    scheme = uri.partition(":")[0].lower() if "://" in uri else ""
    if scheme in {"http", "https"}:
        _check_server(uri)
    elif path := sqlite_path(uri):
        path = path.absolute()
        if not path.parent.is_dir() or path.is_dir():
            raise TrackingError(
                f"The tracking store {uri} cannot be opened: {path} is not a file in an existing folder."
            )
        place = path if path.exists() else path.parent
        if write and not os.access(place, os.W_OK):
            raise TrackingError(f"The tracking store {uri} cannot be opened: {place} is not writable.")
    elif scheme in {"", "file"}:
        raise TrackingError(
            f"The tracking store {uri} is a folder, which MLflow 3 no longer writes. "
            f"Give a database or a server: {DEFAULT_TRACKING_URI}, http://127.0.0.1:5000."
        )


def _check_server(uri: str) -> None:
    """Send the server one request as MLflow does: with the same proxies, certificates and login."""
    from mlflow.exceptions import InvalidUrlException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(
            get_default_host_creds(uri),
            "/health",
            "GET",
            max_retries=0,
            timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
            raise_on_status=False,
        )
    except InvalidUrlException:
        raise UsageError(f"The tracking server {uri} is not a valid URL.") from None
    except Exception as error:
        raise TrackingError(f"The tracking server {uri} cannot be reached: {_reason(error)}.") from None
    if answer.status_code in AWAY:
        raise TrackingError(f"The tracking server {uri} cannot be reached: {answer.status_code} {answer.reason}.")


def _reason(error: BaseException) -> str:
    """Return the root cause of an error of requests or urllib3."""
    while below := error.__cause__ or error.__context__:
        error = below
    text = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"{error.verify_message}; MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE name its authority"
    return text or type(error).__name__
