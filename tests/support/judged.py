"""Promotions that were judged and not yet published: what one process holds while another one is faster."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from conversion.promotion import pipeline, publish
from conversion.promotion.report import Examination
from experiments.tracking import Current, Tracker
from tests.support.commands import invoke
from tests.support.promotions import NAME


@dataclass(frozen=True)
class Judged:
    """Everything that publishing takes, without what cannot go to another process: the network and the store."""

    examination: Examination
    place: Path

    def publish(self, uri: str, judged: Current | None = None) -> int:
        """Publish in a store, as judged against what is current now or then; returns the promotion's number."""
        tracker = Tracker(uri)
        against = judged or tracker.promotions.current(NAME)
        made = publish.publish(tracker, self.examination, name=NAME, path=self.place, judged=against, taken=None)
        return made[1].number


class _Judged(BaseException):
    """Ends a promotion where it would be published."""


def judge(folder: Path, *arguments: object) -> Judged:
    """Judge a promotion by the real command in a folder, and stop there."""
    found: list[Judged] = []

    def keep(_: Tracker, examination: Examination, *, path: Path, **__: object) -> None:
        candidate = examination.candidate
        alone = replace(candidate, classifier=None, tracker=None)  # type: ignore[arg-type]
        vars(alone)["_tested"] = candidate._tested
        found.append(Judged(replace(examination, candidate=alone), path))
        raise _Judged

    with patch.object(pipeline, "publish", keep), suppress(_Judged):
        invoke("conversion.promote", *arguments, cwd=folder)
    return found[0]
