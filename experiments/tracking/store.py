"""The connection to one MLflow store: a database or a server."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from architectures.errors import ProjectError, UsageError
from architectures.redaction import learn, redact, redact_chain
from experiments.config import DEFAULT_TRACKING_URI
from experiments.databases import exclusive, make_database, raise_if_full, sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Experiment

CONNECT_SECONDS = 5  # after which a server that cannot be reached is reported
ANSWER_SECONDS = 30  # after which one that is reached and does not answer is
AWAY = {407, 502, 503, 504}  # what a proxy or a gateway answers in place of the server
MLFLOW_TIMEOUT = "PRAGMA busy_timeout = 20000"
BUSY_SECONDS = 3  # for which a sweep lets SQLite wait for another process' write
SHORTENED = "before_cursor_execute"  # SQLAlchemy's event
GROWTH = 4  # of the number of runs since SQLite last counted them, after which it counts again
ANALYZED_ROWS = 400  # of each index: an estimate of what it holds in milliseconds, as SQLite's manual recommends


class TrackingError(ProjectError):
    """The tracking store cannot be reached, or refuses what it is asked."""


class TrackingUnavailable(TrackingError):
    """The tracking store does not answer, and may later: its server or database is away."""


class ExperimentDeleted(ProjectError):
    """An experiment was deleted: MLflow hides its runs and takes no new ones until it is restored."""


class Store:
    """One MLflow store. Nothing global is changed: `mlflow.set_tracking_uri` would also set MLFLOW_TRACKING_URI."""

    def __init__(self, uri: str, *, create: bool = True, write: bool = True) -> None:
        """Connect.

        Args:
            uri: a database or a server.
            create: whether a SQLite file that does not exist is made; a command that needs what is in it refuses it.
            write: whether it will be written to; False takes a SQLite file that is read-only.

        Raises:
            TrackingError: if the store cannot be reached or opened.

        >>> from experiments.tracking import Tracker
        >>> Tracker("sqlite:///missing.db", create=False)
        Traceback (most recent call last):
        experiments.tracking.store.TrackingError: The tracking store sqlite:///missing.db does not exist. ...
        """
        self.uri = uri
        self._left_out: set[str] = set()  # runs that were named as such
        learn(uri)
        _check_reachable(uri, write=write)
        uri = absolute(uri)
        path = sqlite_path(uri)
        if path and (not path.exists() or not path.stat().st_size):  # an empty file may have been left by a look at it
            if not create:
                missing = "is empty" if path.exists() else "does not exist"
                raise TrackingError(f"The tracking store {self.uri} {missing}. Run python -m search.sweep first.")
            with one_line(self.uri), exclusive(uri, "tables"):
                if not path.exists() or not path.stat().st_size:  # another process was first
                    make_database(path, _make_store)
        with one_line(uri):
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            # MLflow makes the tables of a new PostgreSQL database here, and fails where two do.
            with exclusive(uri, "mlflow") if uri.startswith("postgresql") else nullcontext():
                self._client.search_experiments(max_results=1)

    def hear_interruptions(self) -> None:
        """Give up a SQLite that another process has locked after seconds, in which Ctrl-C is not heard.

        MLflow 3 sets 20 s in each session. To be called by who waits and tries again.
        """
        from sqlalchemy import event

        def shortened(_c: object, _k: object, statement: str, parameters: object, *_: object) -> tuple[str, object]:
            return statement.replace(MLFLOW_TIMEOUT, f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}"), parameters

        for client in (self._client._tracking_client, self._client._get_registry_client()):
            engine = getattr(client.store, "engine", None)
            if engine is not None and sqlite_path(self.uri) and not event.contains(engine, SHORTENED, shortened):
                event.listen(engine, SHORTENED, shortened, retval=True)

    def check_reachable(self) -> None:
        """Raise TrackingUnavailable at once where the store's server cannot be reached."""
        try:
            _check_reachable(self.uri)
        except TrackingError as error:
            raise TrackingUnavailable(str(error)) from None

    def update_statistics(self) -> None:
        """Let a SQLite store that has grown since know how much it holds: MLflow never does.

        Without that SQLite takes seconds to order 10,000 runs by a metric, with it a tenth of one. It is a help only:
        where another process writes or the file may not be written, it waits for the next time.
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

    def experiment(self, name: str) -> str:
        """Id of the experiment `name`, made where there is none."""
        from mlflow.exceptions import MlflowException

        with one_line(self.uri):
            found = self._client.get_experiment_by_name(name)
            if found:
                self._check_not_deleted(found)
                return found.experiment_id
            try:
                return self._client.create_experiment(name)
            except MlflowException:
                if other := self._client.get_experiment_by_name(name):  # another process was first
                    return other.experiment_id
                raise

    def _check_not_deleted(self, experiment: Experiment) -> None:
        """Raise ExperimentDeleted for an experiment that was deleted."""
        if experiment.lifecycle_stage == "deleted":
            raise ExperimentDeleted(
                f"MLflow experiment {experiment.name!r} is deleted. Restore it: mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}."
            )

    def _log(
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
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, step) for key, value in (metrics or {}).items()],
            params=[Param(key, value) for key, value in (params or {}).items()],
        )


def quoted(text: str) -> str:
    """A string literal of MLflow's search language, which has no escapes: a name with both quotes cannot be asked for.

    >>> quoted("it's")
    '"it\\'s"'
    """
    if "'" not in text:
        return f"'{text}'"
    if '"' in text:
        raise UsageError(f"Name {text!r} holds both kinds of quotes: MLflow cannot search for it.")
    return f'"{text}"'


def absolute(uri: str) -> str:
    """A SQLite URI with its path made absolute: MLflow keeps one engine per URI, whatever folder is current later."""
    path = sqlite_path(uri)
    return f"sqlite:///{path.absolute()}{uri[uri.index('?') :] if '?' in uri else ''}" if path else uri


def _make_store(uri: str) -> None:
    """Make MLflow's tables: some forty migrations, which no signal or crash may leave half done."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)


def _check_reachable(uri: str, *, write: bool = True) -> None:
    """Fail at once where MLflow would retry for minutes: a server that does not answer, a database without a folder."""
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
    """Ask a server whether it is there, once, as MLflow asks: by the same proxies, certificates and login."""
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
    """What went wrong at the bottom of requests' and urllib3's errors."""
    while below := error.__cause__ or error.__context__:
        error = below
    text = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"{error.verify_message}; MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE name its authority"
    return text or type(error).__name__


def _is_outage(uri: str, error: BaseException) -> bool:
    """Whether a store may do later what it did not do now: it cannot be reached, or its own database is away."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    seen: BaseException | None = error
    while seen is not None:
        match seen:
            case requests.ConnectionError() | requests.Timeout() | requests.exceptions.RetryError():
                return True
            case requests.HTTPError(response=response) if response is not None and response.status_code >= 500:
                return True
            case MlflowException() if uri.startswith("http") and seen.get_http_status_code() in (429, 500, 503, 504):
                return True
            case DBAPIError(orig=cause) if "sqlite" in type(cause).__module__:
                return "locked" in str(cause)  # another process has it for longer than SQLite waits
            case DBAPIError(orig=cause) if uri.startswith("postgresql"):
                state = getattr(cause, "sqlstate", None)
                return state is None or state.startswith(("08", "57P"))
        seen = seen.__cause__ or seen.__context__
    return False


def _is_refused_login(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.get_http_status_code() == 401


@contextmanager
def one_line(uri: str) -> Iterator[None]:
    """Turn whatever MLflow or its database raises into one line.

    Raises:
        TrackingUnavailable: where the store is away for a while.
        TrackingError: for all else, but for errors that say enough by themselves.
    """
    try:
        yield
    except (ProjectError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        if _is_refused_login(error):
            raise TrackingError(
                f"The tracking server {uri} refuses the login: 401 Unauthorized. MLFLOW_TRACKING_USERNAME and "
                f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, hold one."
            ) from None
        redact_chain(error)  # a traceback shows where it comes from
        text = f"The tracking store {uri} failed: {redact(' '.join(str(error).split()))[:300]}"
        if _is_outage(uri, error):
            raise TrackingUnavailable(text) from error
        raise_if_full(uri, error)
        if isinstance(error, OSError) and error.errno is not None:  # a full disk, a missing permission
            raise
        raise TrackingError(text) from error
