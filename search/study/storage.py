"""The database of studies: waited for while it is away, and locked where sweeps must not act at the same time."""

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
from architectures.redaction import learn, redact, redact_chain
from experiments.databases import exclusive, keepalive, make_database, raise_if_full, sqlite_path
from experiments.interruption import pause

OUTAGE_SECONDS = 600  # for which a database that is away is waited for
RETRY_SECONDS = 1.0
SQLITE_TIMEOUT = 5  # seconds for which SQLite itself waits for another process' write: Ctrl-C cannot end that

T = TypeVar("T")


def is_outage(error: BaseException | None) -> bool:
    """Whether an error says that the database is away or busy for a while, not that it refuses what it was asked."""
    while error is not None:
        if isinstance(error, sqlalchemy.exc.PendingRollbackError):
            return True  # what was begun before the connection broke
        if isinstance(error, sqlalchemy.exc.DBAPIError):
            if "sqlite" in type(error.orig).__module__:
                return "locked" in str(error.orig)
            # No SQLSTATE: the connection broke. 08, 57P: the server ends or starts. 40, 53300: it is busy.
            state = getattr(error.orig, "sqlstate", None)
            broken = isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
            return broken if state is None else state.startswith(("08", "57P", "40", "53300"))
        error = error.__cause__
    return False


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's storage in a database: a call that meets an outage waits until the database is back.

    The calls may be made twice: a database that goes away may have done what it was asked. Most set a value to the
    same again; a trial that was created unheard has no owner and is taken over as such; one that was ended unheard
    raises UpdateFinishedTrialError.
    """

    def __init__(self, url: str, takeover_seconds: int) -> None:
        self.answered_since = time.monotonic()  # how long the database has been there without an outage
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
        """In this block and thread an outage raises."""
        before = getattr(self._thread, "impatient", False)
        self._thread.impatient = True
        try:
            yield
        finally:
            self._thread.impatient = before

    def patiently(self, act: Callable[[], T]) -> T:
        """Call `act`, again and again while the database is away."""
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
                self.scoped_session.remove()  # what the broken connection had begun
                continue
            if away_since:
                self.answered_since = time.monotonic()
                self._told = False
            return result

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Keep other processes from calling `alone` or `exclusive` with this name while the block runs."""
        with ExitStack() as stack:
            self.patiently(lambda: stack.enter_context(exclusive(self.url, name, self.engine)))
            yield

    def alone(self, name: str, act: Callable[[], T], *, lock: str = "lock") -> T:
        """Call `act` while no other process is in a call of `alone` or a block of `exclusive` with these names.

        Where the database goes away meanwhile, and the lock with it, `act` is called again.
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


# What Optuna's cache, through which a study speaks, calls.
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
    "_create_new_trial",
    "_get_trials",
    "_get_stale_trial_ids",
    "_set_trial_param",
):
    setattr(PatientStorage, _name, _patient(getattr(optuna.storages.RDBStorage, _name)))


def open_storage(url: str, takeover_seconds: int = 60, *, create: bool = True) -> PatientStorage:
    """Open the database of studies, which is made where it does not exist.

    Args:
        url: of SQLite, or of PostgreSQL for sweeps on several hosts.
        takeover_seconds: after which a trial of another host without a sign of life is stale.
        create: whether a SQLite file that does not exist is made; a command that only reads refuses it.

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
            with exclusive(url, "tables"):  # Optuna's start fails where two make them
                return PatientStorage(url, takeover_seconds)
        except ImportError as error:
            raise ProjectError(f"{error}: PostgreSQL needs pip install 'pocketnets[postgres]'.") from None


def _opened(url: str, takeover_seconds: int) -> PatientStorage:
    """A SQLite storage that exists, once no other process has it locked."""
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
    """Turn the errors of Optuna and its database into one line."""
    try:
        yield
    except (ProjectError, KeyboardInterrupt, OSError):
        raise
    except ImportError:
        raise
    except Exception as error:
        raise_if_full(url, error)
        redact_chain(error)  # a traceback shows where it comes from
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else None
        text = redact(" ".join(str(getattr(cause, "orig", None) or cause or error).split()))[:300]
        raise ProjectError(f"The study storage {url} failed: {text or type(error).__name__}") from error
