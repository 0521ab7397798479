"""The project's errors: callers may catch them, and the command line prints them in one line."""

from __future__ import annotations

from architectures.redaction import redact


class ProjectError(Exception):
    """Base of every error this project raises on purpose. Exit code 1 at the command line."""

    exit_code = 1

    def __init__(self, *parts: object) -> None:
        """Redact passwords in the message, such as those in a URI."""
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in parts))


class UsageError(ProjectError, ValueError):
    """The request itself is wrong: an unknown name, an empty range, a value out of bounds. Exit code 2."""

    exit_code = 2


class NotConvertible(UsageError):
    """An architecture cannot be converted to Core ML, so it could never be shipped. Exit code 2."""


class PluginError(ProjectError):
    """A plugin cannot be imported, or builds a model that the rest of the project cannot use. Exit code 1."""
