"""Going back through the history of promotions, and promotions that were killed half-way."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.promotion.place import DEFAULT_OUTPUT
from tests.support.commands import Command
from tests.support.promotions import (
    NAME,
    PROMOTIONS,
    History,
    artifacts,
    champion,
    client_of,
    current,
    shipped,
    snapshot,
)
from tests.support.stores import Swept
from tests.support.trackers import part_with

FORCED = ("--force", "--reason", "a test")


def test_rollback_walks_back_to_the_same_bytes(history: History, command: Command) -> None:
    folder, made = history.folder, history.made
    before = snapshot(folder)
    dry = command("conversion.rollback", "--dry-run")
    assert dry.code == 0
    assert "Would return from promotion 3" in dry.out
    assert snapshot(folder) == before
    for state, file in reversed(made[:-1]):
        done = command("conversion.rollback", "--json")
        assert done.code == 0, done.err
        assert (current(folder), shipped(folder)) == (state, file)
        assert (done.json["version"], done.json["promotion"]) == state
        tags = client_of(folder).get_model_version(NAME, str(state[0])).tags
        assert tags["coreml_sha256"] == done.json["coreml_sha256"]
        assert (artifacts(folder, state[0], NAME) / DEFAULT_OUTPUT.name).read_bytes() == file
    left = client_of(folder).get_model_version(PROMOTIONS, "3").tags
    assert left["rolled_back_to"] == "2"
    assert left["rolled_back_at"]
    before = snapshot(folder)
    found = command("conversion.rollback")
    assert found.code == 3
    assert "promotion 1 of mnist5k-classifier-coreml replaced no other" in found.error
    assert snapshot(folder) == before


def test_a_promotion_goes_on_from_where_a_rollback_ended(history: History, command: Command) -> None:
    folder, made = history.folder, history.made
    assert command("conversion.rollback").code == 0
    assert command("conversion.rollback").code == 0
    done = command("conversion.promote", "--author", "Grace", "--json")
    assert (done.json["promotion"], done.json["previous_promotion"]) == (4, 1)
    assert command("conversion.rollback").code == 0
    assert (current(folder), shipped(folder)) == made[0]


def test_rollback_refuses_a_file_that_is_not_its_record(history: History, command: Command) -> None:
    folder = history.folder
    file = artifacts(folder, 2) / DEFAULT_OUTPUT.name
    file.write_bytes(file.read_bytes() + b"\0")
    before = snapshot(folder)
    found = command("conversion.rollback")
    assert found.code == 3
    assert "its record says" in found.error
    assert snapshot(folder) == before


def test_rollback_leaves_somebody_elses_file(history: History, command: Command) -> None:
    folder = history.folder
    (folder / DEFAULT_OUTPUT).write_bytes(b"somebody's work")
    before = snapshot(folder)
    found = command("conversion.rollback")
    assert found.code == 3
    assert "was not written by a promotion" in found.error
    assert snapshot(folder) == before
    elsewhere = command("conversion.rollback", "--output", "other")
    assert elsewhere.code == 0
    assert (folder / "other.mlmodel").is_file()


def test_without_a_history(own_store: Path, command: Command) -> None:
    found = command("conversion.rollback")
    assert found.code == 3
    assert "has no champion" in found.error
    found = command("conversion.rollback", "--model", "nope")
    assert found.code == 2
    assert "Unknown registered model 'nope'" in found.error


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("log_promotion", True),
        pytest.param("make_champion", False, marks=pytest.mark.slow),
        pytest.param("tag_version", False, marks=pytest.mark.slow),
        pytest.param("set_alias", False, marks=pytest.mark.slow),
    ],
)
def test_a_killed_promotion_is_ended_by_the_next(
    step: str,
    after: bool,  # whether the process ends after this step, or before it
    own_promoted: Path,
    swept: Swept,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = current(own_promoted)
    arguments = ("conversion.promote", "--version", swept.result["leaderboard"][1]["version"], *FORCED)
    write = getattr(part_with(step), step)

    def die(*arguments, **options):
        if after:
            write(*arguments, **options)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(part_with(step), step, die)
        with pytest.raises(Killed):
            command(*arguments)
    assert champion(own_promoted) == first[0]
    done = command(*arguments, "--json")
    assert done.code == 0, done.err
    assert current(own_promoted) == (done.json["version"], done.json["promotion"])
    assert shipped(own_promoted) == (artifacts(own_promoted, done.json["promotion"]) / DEFAULT_OUTPUT.name).read_bytes()
    assert command("conversion.rollback").code == 0
    assert current(own_promoted) == first


def test_a_killed_rollback_is_ended_by_the_next(
    history: History, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = history.folder, history.made

    def die(*_: object) -> None:
        raise Killed

    for step in ("make_champion", "tag_version", "set_alias"):
        with monkeypatch.context() as patched:
            patched.setattr(part_with(step), step, die)
            with pytest.raises(Killed):
                command("conversion.rollback")
    assert command("conversion.rollback").code == 0
    assert (current(folder), shipped(folder)) == made[1]
