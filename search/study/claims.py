"""Claims of this process on trials: taken, checked at each write, and released.

See "Who owns a trial" in docs/architecture.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from optuna.trial import FrozenTrial, TrialState

from experiments.tracking import OwnershipLost
from search.study.open_study import OpenStudy
from search.study.owner import as_owner, attempt_of

FENCED = "fenced"  # user attribute of a trial: owners up to this attempt may still write; their runs are abandoned
LOCK = "trials-lock"  # held for a single write; the study's own lock is held for whole steps

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A trial owned by this process until it has ended, or is requeued or taken over."""

    trial_id: int
    owner: str  # as stored
    attempt: int


class Claims:
    """The trials of one study that this process owns."""

    def __init__(self, opened: OpenStudy) -> None:
        self._open = opened
        self._held: dict[int, Claim] = {}  # by trial number

    @property
    def numbers(self) -> set[int]:
        return set(self._held)

    def alone(self, act: Callable[[], T]) -> T:
        """Call `act` while no other process of the study claims, releases or writes to a trial."""
        return self._open.patient.alone(self._open.name, act, lock=LOCK)

    def write(self, trial: FrozenTrial, worker: str) -> Claim:
        """Record this process as the owner of a RUNNING trial. Call it inside `alone`."""
        attempt = attempt_of(trial) + 1
        owner = as_owner(worker, attempt)
        trial_id = self._open.id_of(trial)
        self._open.patient.record_heartbeat(trial_id)
        self._open.storage.set_trial_user_attr(trial_id, "owner", owner)
        return Claim(trial_id, owner, attempt)

    def hold(self, number: int, claim: Claim) -> None:
        """Remember a claim that has been stored."""
        self._held[number] = claim

    def owns(self, number: int) -> bool:
        """Return whether this process still owns a trial. Another sweep takes it over if the heartbeats stop."""
        claim = self._held.get(number)
        owned = claim is not None and self._open.patient.state_and_attribute(claim.trial_id, "owner") == (
            TrialState.RUNNING,
            claim.owner,
        )
        if not owned:
            self._held.pop(number, None)
        return owned

    def owned(
        self, number: int, act: Callable[[FrozenTrial], T], *, last: bool = False, done: Collection[TrialState] = ()
    ) -> T | None:
        """Call `act` with the stored trial while no other process can take it over.

        Args:
            act: writes to the study.
            last: whether this process releases the trial afterwards.
            done: states in which `act` leaves the trial. If the database goes away during the call, `act` may have
                succeeded although it raised.

        Raises:
            OwnershipLost: if another process has taken over the trial.
        """

        def locked() -> T | None:
            claim = self._held.get(number)
            held = self._open.storage.get_trial(claim.trial_id) if claim else None
            if claim and held and held.state in done and held.user_attrs.get("owner") == claim.owner:
                return None
            if claim is None or held is None or not _is_held(claim, held):
                raise OwnershipLost(f"Trial {number} of study {self._open.name!r} was taken over by another sweep.")
            return act(held)

        try:
            result = self.alone(locked)
        except OwnershipLost:
            self._held.pop(number, None)
            raise
        if last:
            self._held.pop(number, None)
        return result

    @contextmanager
    def signs_of_life(self) -> Iterator[None]:
        """Send heartbeats for the trials of this process, from a separate thread."""
        over = threading.Event()

        def record() -> None:
            while not over.wait(self._open.patient.heartbeat_interval):
                for claim in tuple(self._held.values()):
                    try:
                        with self._open.patient.impatient():
                            self._open.patient.record_heartbeat(claim.trial_id)
                    except Exception:  # the sweep gets the same error, and waits or reports it
                        continue

        thread = threading.Thread(target=record, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _is_held(claim: Claim, held: FrozenTrial) -> bool:
    return held.state == TrialState.RUNNING and held.user_attrs.get("owner") == claim.owner
