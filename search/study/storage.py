"""The database of studies, with patience during outages, and locks between sweeps."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar

import optuna
import sqlalchemy

from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.interrupts import raise_if_interrupted
from architectures.redaction import learn, redact, redact_chain
from experiments.databases import exclusive, keepalive, make_database, raise_if_full, sqlite_path
from experiments.interruption import pause
from search.study.optuna_private import CALLS_OF_THE_CACHE, LeanStorage

OUTAGE_SECONDS = 600  # how long to wait for a database that is unavailable
RETRY_SECONDS = 1.0
SQLITE_TIMEOUT = 5  # how long SQLite itself waits for another process's write, during which Ctrl-C has no effect

T = TypeVar("T")


def is_outage(error: BaseException | None) -> bool:
    """Return whether an error means that the database is temporarily unavailable or busy."""
    while error is not None:
        if isinstance(error, sqlalchemy.exc.PendingRollbackError):
            return True  # the transaction of a broken connection
        if isinstance(error, sqlalchemy.exc.DBAPIError):
            if "sqlite" in type(error.orig).__module__:
                return "locked" in str(error.orig)
            # No SQLSTATE: broken connection. 08, 57P: the server is starting or stopping. 40, 53300: it is busy.
            state = getattr(error.orig, "sqlstate", None)
            broken = isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
            return broken if state is None else state.startswith(("08", "57P", "40", "53300"))
        error = error.__cause__
    return False


class PatientStorage(LeanStorage):
    """Optuna's storage in a database; a call that meets an outage waits until the database is back.

    A call may be executed twice, because the database may have committed it before the connection broke. Most calls
    set the same value again. A trial that was created unnoticed has no owner and is taken over. Ending a trial twice
    raises UpdateFinishedTrialError.
    """

    def __init__(self, url: str, takeover_seconds: int) -> None:
        self.answered_since = time.monotonic()  # start of the current period without an outage
        self._thread = threading.local()
        self._told = False
        engine: dict[str, Any] = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
        if sqlite_path(url) is None:
            engine = {"pool_pre_ping": True, "connect_args": keepalive(url)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                url, engine, heartbeat_interval=max(1, takeover_seconds // 4), grace_period=takeover_seconds
            )

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Let outages raise in this block and thread."""
        before = getattr(self._thread, "impatient", False)
        self._thread.impatient = True
        try:
            yield
        finally:
            self._thread.impatient = before

    def patiently(self, act: Callable[[], T]) -> T:
        """Call `act`, and repeat it while the database is unavailable."""
        away_since = None
        while True:
            try:
                result = act()
            except Exception as error:
                if is_outage(error):
                    self.answered_since = time.monotonic()
                away_since = away_since or time.monotonic()
                waited = time.monotonic() - away_since
                if not is_outage(error) or getattr(self._thread, "impatient", False) or waited > OUTAGE_SECONDS:
                    raise
                if not self._told:
                    self._told = True
                    say("warning: the study storage does not answer; waiting for it", file=sys.stderr)
                pause(RETRY_SECONDS)
                self.scoped_session.remove()  # the transaction of the broken connection
                continue
            if away_since:
                self.answered_since = time.monotonic()
                self._told = False
            return result

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Keep other processes out of `alone` and `exclusive` with this name while the block runs."""
        with ExitStack() as stack:
            self.patiently(lambda: stack.enter_context(exclusive(self.url, name, self.engine)))
            yield

    def alone(self, name: str, act: Callable[[], T], *, lock: str = "lock") -> T:
        """Call `act` while no other process is in `alone` or `exclusive` with these names.

        If the database goes away, the lock is lost and `act` is called again.
        """

        def locked() -> T:
            with exclusive(self.url, name, self.engine, lock=lock), self.impatient():
                return act()

        return self.patiently(locked)


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: PatientStorage, *arguments: Any, **options: Any) -> Any:
        return self.patiently(lambda: method(self, *arguments, **options))

    return call


# The calls of Optuna's cache, through which a study accesses its storage, and our own.
for _name in (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "get_trial",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "record_heartbeat",
    "get_trial_id_from_study_id_trial_number",
    "state_and_attribute",
    *CALLS_OF_THE_CACHE,
):
    setattr(PatientStorage, _name, _patient(getattr(PatientStorage, _name)))


def is_missing(url: str) -> bool:
    """Return whether a storage is an SQLite file that does not exist yet."""
    path = sqlite_path(url)
    return path is not None and not path.exists()


def open_storage(url: str, takeover_seconds: int = 60, *, create: bool = True) -> PatientStorage:
    """Open the database of studies, and create it if it does not exist.

    Args:
        url: of SQLite, or of PostgreSQL for sweeps on several hosts.
        takeover_seconds: how long another host's trial may be without a heartbeat before it is stale.
        create: whether to create a missing SQLite file; commands that only read raise instead.

    Raises:
        UsageError: for another kind of database.
        ProjectError: if it cannot be opened.
    """
    learn(url)
    path = sqlite_path(url)
    if path is None and not url.startswith("postgresql"):
        raise UsageError(
            f"The study storage {url} is neither SQLite nor PostgreSQL: give sqlite:///FILE, or "
            f"postgresql+psycopg://USER@HOST/DATABASE for sweeps on several hosts."
        )
    with storage_errors(url):
        if path is not None:
            path = path.absolute()
            if not path.parent.is_dir() or path.is_dir():
                raise ProjectError(f"The study storage {url} cannot be opened: {path} is not a file in a folder.")
            if not path.exists() and not create:
                raise ProjectError(f"The study storage {url} does not exist. Run python -m search.sweep first.")
            if not path.exists() or not path.stat().st_size:
                with exclusive(url, "tables"):
                    make_database(path, lambda beside: optuna.storages.RDBStorage(beside).remove_session())
            return _opened(url, takeover_seconds)
        try:
            with exclusive(url, "tables"):  # two concurrent first starts of Optuna fail
                return PatientStorage(url, takeover_seconds)
        except ImportError as error:
            raise ProjectError(f"{error}: PostgreSQL needs pip install 'pocketnets[postgres]'.") from None


def _opened(url: str, takeover_seconds: int) -> PatientStorage:
    """Open an existing SQLite storage as soon as no other process has it locked."""
    since, told = time.monotonic(), False
    while True:
        try:
            return PatientStorage(url, takeover_seconds)
        except Exception as error:
            if not is_outage(error) or time.monotonic() - since > OUTAGE_SECONDS:
                raise
        if not told:
            told = True
            say(f"warning: the study storage {url} is locked by another process; waiting for it", file=sys.stderr)
        pause(RETRY_SECONDS)


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Convert errors of Optuna and the database to one line."""
    try:
        yield
    except (ProjectError, KeyboardInterrupt, OSError):
        raise
    except ImportError:
        raise
    except Exception as error:
        raise_if_interrupted(error)
        raise_if_full(url, error)
        redact_chain(error)  # it is part of the traceback
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else None
        text = redact(" ".join(str(getattr(cause, "orig", None) or cause or error).split()))[:300]
        raise ProjectError(f"The study storage {url} failed: {text or type(error).__name__}") from error
