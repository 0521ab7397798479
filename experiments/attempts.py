"""Make a report part by part; a part that fails is noted and the others are still made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from architectures.command import traceback_text
from architectures.redaction import redact
from experiments.tracking import NOT_DRAWN_FILE, TrackingError

LONGEST_REASON = 300  # characters


@dataclass
class Attempts:
    """The parts of a report that could not be made."""

    reasons: dict[str, str] = field(default_factory=dict)  # by part
    tracebacks: list[str] = field(default_factory=list)

    @contextmanager
    def part(self, name: str, file: Path | None = None) -> Iterator[None]:
        """Note an exception, and remove a `file` that is incomplete.

        MLflow outages are raised.
        """
        try:
            yield
        except TrackingError:
            raise
        except Exception as error:
            self.reasons[name] = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:LONGEST_REASON]
            self.tracebacks.append(f"{name}\n{traceback_text(error)}")
            if file:
                with suppress(OSError):  # a full disk
                    file.unlink(missing_ok=True)

    def write(self, folder: Path) -> None:
        """Write the tracebacks next to the parts that could be made."""
        if self.tracebacks:
            (folder / NOT_DRAWN_FILE).write_text("\n".join(self.tracebacks), encoding="utf-8")

    def __str__(self) -> str:
        """Return one line; empty if nothing is missing."""
        return "; ".join(f"{name}: {reason}" for name, reason in self.reasons.items())
