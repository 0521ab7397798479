"""Switch from one promotion to another: the file in its place and both aliases, or none of them.

All of this happens under the promotion lock (`Tracker.promotion_lock`), between `begin` and `ended`. If a process dies
in between, `settle` completes the switch if its last write was made, and undoes it otherwise.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from architectures.display import say
from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from conversion.coreml.file import read
from conversion.coreml.writing import clear, files_in_place, remove, write
from conversion.promotion.champion import fetch
from experiments.locks import LockLost
from experiments.tracking import Begun, PromotionRecord, Tracker, TrackingError

FACTS = ("coreml_sha256", "coreml_bytes", "coreml_format", "compression", "test_accuracy")  # of the evidence
TAGS = (*FACTS, "parity", "promotion", "promotion_reasons", "forced_reason")  # of a promoted version


def settle_left_over(tracker: Tracker, name: str) -> None:
    """Take the lock and call `settle`, if there is anything to settle."""
    if tracker.promotions.begun(name):
        with tracker.promotion_lock(f"settles what was begun on {name}"):
            settle(tracker, name)


@contextmanager
def switching(tracker: Tracker, name: str, path: Path, *, target: int | None = None) -> Iterator[None]:
    """Record that a switch has begun, with its place, target and what was found; undo it if the block raises.

    The block ends with `make_champion`. Call this under the promotion lock, after `settle`.
    """
    made = tracker.promotions.all(name)
    stood = next(map(_digest, files_in_place(path)), None)
    found = tracker.promotions.current(name).promotion
    last = made[-1].number if made else 0
    tracker.promotions.begin(name, Begun(found, last, target, str(path.absolute()), stood, platform.node()))
    try:
        yield
    except LockLost:  # the next holder of the lock settles it
        raise
    except (Exception, KeyboardInterrupt):
        with suppress(ProjectError, OSError):  # otherwise, the next command does
            settle(tracker, name)
        raise
    tracker.promotions.ended(name)


def _digest(form: Path) -> str:
    """Return the SHA-256 of an existing file, or a word for an unreadable one, which no promotion wrote."""
    try:
        return read(form).sha256
    except ProjectError:
        return "unreadable"


def make_champion(tracker: Tracker, promotion: PromotionRecord) -> None:
    """Make a promotion the current one: set the tags of its version, and move the aliases, the champion's last."""
    name = promotion.source_name
    version = tracker.registry.version(name, promotion.source)
    tracker.promotions.make_champion(promotion, version, {key: promotion.tags[key] for key in TAGS})


def settle(tracker: Tracker, name: str) -> None:
    """Complete or undo what a dead process has begun. Call this with the promotion lock held.

    Raises:
        TrackingError: if the store fails; the next command tries again.
        OSError: if the file cannot be written; likewise.
    """
    begun = tracker.promotions.begun(name)
    if begun is None:
        return
    clear(Path(begun.place))
    made = {promotion.number: promotion for promotion in tracker.promotions.all(name)}
    own = [promotion for number, promotion in made.items() if number > begun.last]
    target = made.get(begun.target) if begun.target is not None else next(iter(own), None)
    found = made.get(begun.found) if begun.found is not None else None
    if target and tracker.promotions.is_champion(target):
        _end(tracker, begun, target, found)
    else:
        _undo(tracker, name, begun, target, found)
    tracker.promotions.ended(name)


def _end(tracker: Tracker, begun: Begun, target: PromotionRecord, found: PromotionRecord | None) -> None:
    make_champion(tracker, target)  # its tags may be incomplete
    if begun.target is not None and found:
        note_return(tracker, found, target)


def note_return(tracker: Tracker, left: PromotionRecord, restored: PromotionRecord) -> None:
    """Record on a promotion that a rollback has left it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    tracker.registry.tag(left.name, left.number, {"rolled_back_at": now, "rolled_back_to": str(restored.number)})


def _undo(
    tracker: Tracker, name: str, begun: Begun, target: PromotionRecord | None, found: PromotionRecord | None
) -> None:
    if target:
        _put_back(tracker, name, begun, target)
        if begun.target is None:
            tracker.promotions.abandon(target, TAGS)
    champion = tracker.registry.champion(name)
    sources = {promotion.source for promotion in (target, found) if promotion}
    if champion and champion.version not in sources:
        return  # the alias was set by hand
    if found is None:
        tracker.promotions.remove_champion(name)
        return
    with scratch_folder() as folder:
        try:
            fetch(tracker, found, folder)
        except TrackingError:
            raise
        except ProjectError as error:
            say(f"warning: the evidence of promotion {found.number} cannot be put back: {error}", file=sys.stderr)
        else:
            tracker.models.attach(tracker.registry.version(name, found.source), folder)
    make_champion(tracker, found)


def _put_back(tracker: Tracker, name: str, begun: Begun, target: PromotionRecord) -> None:
    """Restore what the place had before, if it has the target's file, or nothing because of a kill."""
    place = Path(begun.place)
    digests = {form: _digest(form) for form in files_in_place(place)}
    ours = [form for form, digest in digests.items() if digest == target.sha256]
    between = not digests and begun.stood is not None and begun.host == platform.node() and place.parent.is_dir()
    if begun.stood == target.sha256 or not (ours or between):
        return
    if begun.stood is None:
        for form in ours:
            remove(form)
        return
    before = [promotion for promotion in tracker.promotions.all(name) if promotion.sha256 == begun.stood]
    if not before:
        say(f"warning: {place} holds the file of promotion {target.number}, which was never completed", file=sys.stderr)
        return
    with scratch_folder() as folder:
        file = fetch(tracker, before[-1], folder)
    write(file, place.with_suffix(file.suffix))
