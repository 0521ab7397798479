"""Errors of a tracking store, and the guard that turns errors of MLflow and its database into one line."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from architectures.errors import ProjectError
from architectures.interrupts import raise_if_interrupted
from architectures.redaction import redact, redact_chain
from experiments.databases import raise_if_full

MISSING, EXISTS, INVALID = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"


class TrackingError(ProjectError):
    """The tracking store cannot be reached, or refuses a request."""

    code = ""  # MLflow's error code, if it refused


class TrackingUnavailable(TrackingError):
    """The tracking store does not answer, but may later: its server or database is not available."""


class ExperimentDeleted(ProjectError):
    """An experiment was deleted: MLflow hides its runs and takes no new ones until it is restored."""


@contextmanager
def unless_missing() -> Iterator[None]:
    """Ignore errors about what the store does not have."""
    try:
        yield
    except TrackingError as error:
        if error.code not in {MISSING, INVALID}:
            raise


class Guarded:
    """Wraps a client of a store: each of its calls raises what `store_errors` raises."""

    def __init__(self, client: object, uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*arguments: object, **options: object) -> object:
            with store_errors(self._uri):
                return found(*arguments, **options)

        return call


def _is_outage(uri: str, error: BaseException) -> bool:
    """Return whether the call may succeed later: the store cannot be reached, or its database is not available."""
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
                return "locked" in str(cause)  # another process holds the lock for longer than SQLite waits
            case DBAPIError(orig=cause) if uri.startswith("postgresql"):
                state = getattr(cause, "sqlstate", None)
                return state is None or state.startswith(("08", "57P"))
        seen = seen.__cause__ or seen.__context__
    return False


def _is_refused_login(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.get_http_status_code() == 401


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn the errors of MLflow and its database into one line.

    Raises:
        TrackingUnavailable: if the store is temporarily unavailable.
        TrackingError: for all other errors, except those whose message is clear enough.
    """
    try:
        yield
    except (ProjectError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:
        raise_if_interrupted(error)
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
        refused = TrackingError(text)
        refused.code = getattr(error, "error_code", "")
        raise refused from error
