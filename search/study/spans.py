"""When a trial ran: its last attempt as recorded by Optuna, and earlier attempts that were requeued."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from optuna.trial import FrozenTrial

from search.study.pruning import PAUSED_AT

HOST = "host"  # user attribute of a trial that ran on another host than its sweep
EARLIER = "earlier_attempts"  # user attribute of a trial: worker, start and end of requeued attempts


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
    """Return the attribute EARLIER of a running trial that is being requeued."""
    earlier = trial.user_attrs.get(EARLIER, [])
    started = trial.datetime_start
    return [*earlier, (_worker(trial), started.isoformat(), datetime.now().isoformat())] if started else earlier


def spans(trial: FrozenTrial) -> list[Span]:
    """Return all known attempts at an ended trial. The duration of an attempt whose process died is unknown."""
    found = [
        Span(worker, datetime.fromisoformat(start), datetime.fromisoformat(end))
        for worker, start, end in trial.user_attrs.get(EARLIER, ())
    ]
    pruned_while_it_waited = bool(trial.user_attrs.get(PAUSED_AT))
    if "owner" in trial.user_attrs and trial.datetime_start and trial.datetime_complete and not pruned_while_it_waited:
        found.append(Span(_worker(trial), trial.datetime_start, trial.datetime_complete))
    return found


def covered(found: Iterable[Span]) -> timedelta:
    """Return the total time in which at least one of the attempts was running."""
    total, until = timedelta(), datetime.min
    for span in sorted(found, key=lambda span: span.start):
        total += max(span.end - max(span.start, until), timedelta())
        until = max(until, span.end)
    return total


def _worker(trial: FrozenTrial) -> str:
    owner = json.loads(trial.user_attrs.get("owner", "{}"))
    return f"{trial.user_attrs.get(HOST, owner.get('host', ''))} {owner.get('worker', '')}"
