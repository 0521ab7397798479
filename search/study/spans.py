"""When a trial ran: in its last attempt, which Optuna records, and in those before it, after which it was requeued."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from optuna.trial import FrozenTrial

from search.study.pruning import PAUSED_AT

HOST = "host"  # user attribute of a trial that was computed on another host than its sweep's
EARLIER = "earlier_attempts"  # user attribute of a trial: the worker, the start and the end of each that ended well


@dataclass(frozen=True)
class Span:
    """One attempt at a trial."""

    worker: str
    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


def until_now(trial: FrozenTrial) -> list[tuple[str, str, str]]:
    """The attribute EARLIER of a running trial that is requeued now."""
    earlier = trial.user_attrs.get(EARLIER, [])
    started = trial.datetime_start
    return [*earlier, (_worker(trial), started.isoformat(), datetime.now().isoformat())] if started else earlier


def spans(trial: FrozenTrial) -> list[Span]:
    """All known attempts at a trial that has ended; nobody knows how long those took whose process died."""
    found = [
        Span(worker, datetime.fromisoformat(start), datetime.fromisoformat(end))
        for worker, start, end in trial.user_attrs.get(EARLIER, ())
    ]
    pruned_while_it_waited = bool(trial.user_attrs.get(PAUSED_AT))
    if "owner" in trial.user_attrs and trial.datetime_start and trial.datetime_complete and not pruned_while_it_waited:
        found.append(Span(_worker(trial), trial.datetime_start, trial.datetime_complete))
    return found


def covered(found: Iterable[Span]) -> timedelta:
    """The time in which at least one of them was running."""
    total, until = timedelta(), datetime.min
    for span in sorted(found, key=lambda span: span.start):
        total += max(span.end - max(span.start, until), timedelta())
        until = max(until, span.end)
    return total


def _worker(trial: FrozenTrial) -> str:
    owner = json.loads(trial.user_attrs.get("owner", "{}"))
    return f"{trial.user_attrs.get(HOST, owner.get('host', ''))} {owner.get('worker', '')}"
