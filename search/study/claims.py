"""The trials that this process owns: claimed, proven at each write, given back.

The rules stand in docs/architecture.md, "Who owns a trial".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.tracking import OwnershipLost
from search.study.owner import as_owner, attempt_of
from search.study.storage import PatientStorage

FENCED = "fenced"  # user attribute of a trial: attempts up to this one may write late, their runs are given up
LOCK = "trials-lock"  # held for the moment of a write; a study's own is held for whole steps

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A trial that this process owns until it is told, requeued, or taken over."""

    trial_id: int
    owner: str  # as the storage holds it
    attempt: int


class Claims:
    """The trials of one study that this process owns."""

    def __init__(self, patient: PatientStorage, storage: optuna.storages.BaseStorage, study: str) -> None:
        self._patient, self._storage, self._study = patient, storage, study
        self._held: dict[int, Claim] = {}  # by the trials' numbers

    @property
    def numbers(self) -> set[int]:
        return set(self._held)

    def alone(self, act: Callable[[], T]) -> T:
        """Call `act` while no other process claims, writes or gives back a trial of the study."""
        return self._patient.alone(self._study, act, lock=LOCK)

    def write(self, trial: FrozenTrial, worker: str) -> Claim:
        """Write down that a RUNNING trial is this process' from here on. To be called inside `alone`."""
        attempt = attempt_of(trial) + 1
        owner = as_owner(worker, attempt)
        self._patient.record_heartbeat(trial._trial_id)
        self._storage.set_trial_user_attr(trial._trial_id, "owner", owner)
        return Claim(trial._trial_id, owner, attempt)

    def hold(self, number: int, claim: Claim) -> None:
        """Note a claim that the storage holds."""
        self._held[number] = claim

    def owns(self, number: int) -> bool:
        """Whether a trial is still this process': a sweep that waited in vain for a sign of life takes it."""
        claim = self._held.get(number)
        owned = claim is not None and _is_held(claim, self._storage.get_trial(claim.trial_id))
        if not owned:
            self._held.pop(number, None)
        return owned

    def owned(
        self, number: int, act: Callable[[FrozenTrial], T], *, last: bool = False, done: Collection[TrialState] = ()
    ) -> T | None:
        """Call `act` with a trial as the storage holds it, while nobody can take it over.

        Args:
            act: writes to the study.
            last: the trial is this process' no more afterwards.
            done: states in which `act` leaves the trial: it may have, in a call whose answer an outage has cut off.

        Raises:
            OwnershipLost: where another process has taken it over.
        """

        def locked() -> T | None:
            claim = self._held.get(number)
            held = self._storage.get_trial(claim.trial_id) if claim else None
            if claim and held and held.state in done and held.user_attrs.get("owner") == claim.owner:
                return None
            if claim is None or held is None or not _is_held(claim, held):
                raise OwnershipLost(f"Trial {number} of study {self._study!r} was taken over by another sweep.")
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
        """Record in the storage, from a thread of its own, that the trials of this process are being run."""
        over = threading.Event()

        def record() -> None:
            while not over.wait(self._patient.heartbeat_interval):
                for claim in tuple(self._held.values()):
                    try:
                        with self._patient.impatient():
                            self._patient.record_heartbeat(claim.trial_id)
                    except Exception:  # the sweep meets it, too, and waits or says so
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
