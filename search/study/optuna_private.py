"""What this project uses of Optuna that is private, because no public call replaces it; each with the reason.

tests/search/test_optuna_private.py fails where Optuna changes any of it. All other modules use the public API alone.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

# What the cache between a study and its database calls of the database's storage, instead of the public methods.
CALLS_OF_THE_CACHE = ("_create_new_trial", "_get_trials", "_get_stale_trial_ids", "_set_trial_param")


def cached(storage: RDBStorage) -> BaseStorage:
    """A storage with Optuna's cache. Public calls make one for each study object, and each reads all trials again."""
    return optuna.storages.get_storage(storage)


def silent(storage: RDBStorage, study_id: int) -> set[int]:
    """The numbers of running trials whose heartbeats have stopped. The public `fail_stale_trials` would end them."""
    return {storage.get_trial_number_from_id(trial_id) for trial_id in storage._get_stale_trial_ids(study_id)}


def take_search_space(sampler: BaseSampler, before: BaseSampler | None) -> None:
    """Let a TPE sampler use the search space of all trials that another one of this study has computed.

    Each trial has a sampler of its own seed; computing the space again takes up to 35 ms as the study grows.
    """
    if isinstance(sampler, TPESampler) and isinstance(before, TPESampler):
        sampler._search_space = before._search_space


class LeanStorage(RDBStorage):
    """Optuna's storage in a database, with smaller queries.

    They need its tables and its session. Only a subclass can change what the cache reads: `_get_trials`.
    """

    def __init__(self, url: str, engine: dict[str, Any], *, heartbeat_interval: int, grace_period: int) -> None:
        self._requeued: dict[int, tuple[datetime, FrozenTrial]] = {}  # queued, by id; when they last began
        super().__init__(url, engine, heartbeat_interval=heartbeat_interval, grace_period=grace_period)

    def state_and_attribute(self, trial_id: int, key: str) -> tuple[TrialState, Any]:
        """Return a trial's state and a user attribute, or None: one statement, where `get_trial` takes six."""
        attribute = TrialUserAttributeModel
        of_trial = (attribute.trial_id == TrialModel.trial_id) & (attribute.key == key)
        query = sqlalchemy.select(TrialModel.state, attribute.value_json).outerjoin(attribute, of_trial)
        with _create_scoped_session(self.scoped_session) as session:
            state, value = session.execute(query.where(TrialModel.trial_id == trial_id)).one()
        return state, None if value is None else json.loads(value)

    def _get_trials(
        self, study_id: int, states: Any, included_trial_ids: set[int], trial_id_greater_than: int
    ) -> list[FrozenTrial]:
        """Read trials as Optuna does, but a queued one only once until it has run again.

        Optuna's cache keeps ended trials and asks for all others each time; a long study has hundreds of paused ones.
        Nothing is written to a trial while it is queued, and each start of it is recorded with its time.
        """
        columns, after = TrialModel.__table__.columns, trial_id_greater_than
        with _create_scoped_session(self.scoped_session) as session:
            found = session.query(columns.trial_id, columns.state, columns.datetime_start)
            found = found.filter(columns.study_id == study_id)
            rows = found.filter((columns.state == TrialState.WAITING) | (columns.trial_id > after)).all()
        asked = {row.trial_id: row for row in rows if row.trial_id > after or row.trial_id in included_trial_ids}
        began = {number: row.datetime_start for number, row in asked.items() if row.state == TrialState.WAITING}
        known = {number: self._requeued[number] for number in began.keys() & self._requeued.keys()}
        unchanged = {number: trial for number, (start, trial) in known.items() if start == began[number]}
        others = (included_trial_ids | asked.keys()) - unchanged.keys()
        read = super()._get_trials(study_id, states, others, max(after, *unchanged, -1))
        for trial in read:
            if trial.state == TrialState.WAITING and (start := began.get(trial._trial_id)):
                self._requeued[trial._trial_id] = start, trial
        read += [trial for trial in unchanged.values() if states is None or trial.state in states]
        return sorted(read, key=lambda trial: trial._trial_id)
