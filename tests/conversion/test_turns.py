"""Two promotions, rollbacks or prunings at once, and struck in between: one after the other, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

from conversion.promotion import pipeline, publish
from conversion.promotion.place import DEFAULT_OUTPUT
from conversion.promotion.switch import TAGS, settle_left_over
from experiments.tracking import Current, Tracker
from experiments.tracking.promotions import Promotions
from experiments.tracking.registry import Registry
from tests.support.commands import Command
from tests.support.judged import Judged, judge
from tests.support.promotions import NAME, PROMOTIONS, REFUSAL_TAGS, artifacts, champion, client_of, shipped, snapshot
from tests.support.stores import Promoted, Swept, copy_promoted
from tests.support.trackers import part_with

FORCED = ("--force", "--reason", "a test")


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def current(folder: Path) -> Current:
    return Current(champion(folder), champion(folder, PROMOTIONS))


Judge = Callable[..., Judged]


@pytest.fixture(scope="module")
def judged(promoted: Promoted, swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """The judgement of a promotion with these options, made once in a copy of the promotion's folder."""

    @cache
    def made(*options: str) -> Judged:
        folder = tmp_path_factory.mktemp("judged")
        copy_promoted(promoted, folder)
        if "--run" in options:
            unregister(folder, swept.result["leaderboard"][1]["version"])
        return judge(folder, *options)

    def at(folder: Path, *options: str) -> Judged:
        return Judged(made(*options).examination, folder / DEFAULT_OUTPUT)

    return at


def test_a_promotion_that_another_overtook_is_refused(
    own_promoted: Path, swept: Swept, judged: Judge, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The issue's: judged against 1, 2 was promoted meanwhile. It changes nothing, --force or not, and says so."""
    other = judged(own_promoted, "--author", "Ada")
    publishing = publish.publish

    def overtaken(tracker, *arguments, **options):
        monkeypatch.setattr(pipeline, "publish", publishing)
        assert other.publish(uri_of(own_promoted)) == 2
        before.append(snapshot(own_promoted, but=REFUSAL_TAGS))
        return publishing(tracker, *arguments, **options)

    before: list[dict] = []
    monkeypatch.setattr(pipeline, "publish", overtaken)
    found = command("conversion.promote", "--version", swept.result["leaderboard"][1]["version"], *FORCED, "--json")
    assert found.code == 3
    assert found.error.endswith("judged against promotion 1, but promotion 2 has been published since: run it again.")
    assert snapshot(own_promoted, but=REFUSAL_TAGS) == before[0]
    assert found.json["decision"] == "refused"
    assert found.json["gate"][-1]["name"] == "one at a time"
    assert current(own_promoted).promotion == 2
    again = judged(own_promoted, "--version", swept.result["leaderboard"][1]["version"], *FORCED)
    assert again.publish(uri_of(own_promoted)) == 3
    assert {each.number: each.previous for each in Tracker(uri_of(own_promoted)).promotions.all(NAME)}[3] == 2


def test_rolled_back_meanwhile(own_promoted: Path, swept: Swept, judged: Judge, command: Command) -> None:
    first = judged(own_promoted, "--author", "Ada")
    second = judged(own_promoted, "--version", swept.result["leaderboard"][1]["version"], *FORCED)
    assert first.publish(uri_of(own_promoted)) == 2
    assert command("conversion.rollback").code == 0
    before = snapshot(own_promoted)
    with pytest.raises(publish.Overtaken, match="judged against promotion 2, but promotion 1 has been restored since"):
        second.publish(uri_of(own_promoted), Current(1, 2))
    assert snapshot(own_promoted) == before


def test_a_file_that_came_meanwhile_stays(own_promoted: Path, judged: Judge) -> None:
    ours = judged(own_promoted, "--author", "Ada")
    place = own_promoted / DEFAULT_OUTPUT
    place.write_bytes(b"somebody's work")
    before = snapshot(own_promoted)
    with pytest.raises(publish.Overtaken, match="has changed since the file was judged: run it again"):
        ours.publish(uri_of(own_promoted))
    assert snapshot(own_promoted) == before


def unregister(folder: Path, version: int) -> None:
    """Delete a version by hand: nothing needs its model then."""
    client_of(folder).delete_model_version(NAME, str(version))


def test_prune_asks_again_before_it_removes(own_promoted: Path, swept: Swept, judged: Judge) -> None:
    """A model is promoted between prune's look and its removal."""
    unneeded = swept.result["leaderboard"][1]
    unregister(own_promoted, unneeded["version"])
    ours = judged(own_promoted, "--run", unneeded["run_id"], *FORCED)
    tracker = Tracker(uri_of(own_promoted))
    (looked,) = (model for model in tracker.models.stored_models() if not model.needed)
    assert looked.run_id == unneeded["run_id"]
    ours.publish(uri_of(own_promoted))
    assert not tracker.models.remove_files(looked)
    champion_files = artifacts(own_promoted, current(own_promoted).version or 0, NAME)
    assert (champion_files / "data" / "model.keras").is_file()
    assert not tracker.models.is_removed(ours.examination.candidate.model)


def test_a_model_that_was_removed_is_not_promoted(own_promoted: Path, swept: Swept, judged: Judge) -> None:
    """A model is removed between its judgement and its publication."""
    unneeded = swept.result["leaderboard"][1]
    unregister(own_promoted, unneeded["version"])
    ours = judged(own_promoted, "--run", unneeded["run_id"], *FORCED)
    tracker = Tracker(uri_of(own_promoted))
    (looked,) = (model for model in tracker.models.stored_models() if not model.needed)
    assert tracker.models.remove_files(looked)
    before = snapshot(own_promoted)
    with pytest.raises(Exception, match="has been removed since"):
        ours.publish(uri_of(own_promoted))
    assert snapshot(own_promoted) == before


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


WRITES = ("begin", "log_promotion", "attach", "make_champion", "tag_version", "set_alias", "ended")


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--author", "Ada"), ("--version",)], ids=["same model", "another"])
def test_what_a_killed_promotion_left_is_undone_or_ended(
    options: tuple, own_promoted: Path, swept: Swept, judged: Judge, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each write: then the promotion was made, or all is as before but for its record."""
    if options[0] == "--version":
        options = ("--version", swept.result["leaderboard"][1]["version"], *FORCED)
    ours = judged(own_promoted, *options)
    tracker, place = Tracker(uri_of(own_promoted)), own_promoted / DEFAULT_OUTPUT
    for write in WRITES:
        for after in (False, True):
            before, file = current(own_promoted), shipped(own_promoted)
            real = getattr(part_with(write), write)

            def die(*arguments, real=real, after=after):
                if after:
                    real(*arguments)
                raise Killed

            with monkeypatch.context() as patched:
                patched.setattr(part_with(write), write, die)
                with pytest.raises(Killed):
                    ours.publish(uri_of(own_promoted))
            settle_left_over(tracker, NAME)
            now = current(own_promoted)
            made = (write, after) in {("make_champion", True), ("set_alias", True), ("ended", False), ("ended", True)}
            if options[0] == "--author":  # the champion's alias stands there already
                made = made or (write, after) in {("tag_version", True), ("set_alias", False)}
            assert (now != before) == made, (write, after)
            assert (shipped(own_promoted) != file) == made, (write, after)
            assert_whole(own_promoted)
            if made:
                assert command("conversion.rollback").code == 0
                assert (current(own_promoted), shipped(own_promoted)) == (before, file)
                assert_whole(own_promoted)
    assert not list(place.parent.glob(".*"))


def test_a_promotion_killed_once_it_is_crowned_lacks_nothing(
    own_promoted: Path, swept: Swept, judged: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias comes last: whatever belongs to the promotion stands there by then."""
    ours = judged(own_promoted, "--version", swept.result["leaderboard"][1]["version"], *FORCED)
    tracker, set_alias = Tracker(uri_of(own_promoted)), Registry.set_alias

    def die(*arguments: object) -> None:
        set_alias(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_alias", die)
        with pytest.raises(Killed):
            ours.publish(uri_of(own_promoted))
    settle_left_over(tracker, NAME)
    assert current(own_promoted).promotion == 2
    assert_whole(own_promoted)


def assert_whole(folder: Path) -> None:
    """Aliases, file, evidence and history of the champion are of one promotion, and nothing is left half-way."""
    client, tracker = client_of(folder), Tracker(uri_of(folder))
    now = current(folder)
    assert now.version
    assert now.promotion
    assert tracker.promotions.current(NAME) == now
    assert tracker.promotions.begun(NAME) is None
    made = {promotion.number: promotion for promotion in tracker.promotions.all(NAME)}
    champion = made[now.promotion]
    assert champion.source == now.version
    assert not champion.abandoned
    tags = client.get_model_version(NAME, str(now.version)).tags
    assert {key: tags[key] for key in TAGS} == {key: champion.tags[key] for key in TAGS}
    for number, name in ((now.promotion, PROMOTIONS), (now.version, NAME)):
        found = artifacts(folder, number, name)
        digests = {sha256(file).hexdigest() for file in ((found / DEFAULT_OUTPUT.name).read_bytes(), shipped(folder))}
        assert digests == {champion.sha256}, (name, number)
        assert json.loads((found / "promotion.json").read_text())["coreml_sha256"] == champion.sha256
    assert (artifacts(folder, now.version, NAME) / "data" / "model.keras").is_file()
    assert [path.name for path in (folder / DEFAULT_OUTPUT).parent.iterdir()] == [DEFAULT_OUTPUT.name]
    chain = [now.promotion]
    while (before := made[chain[-1]].previous) is not None:
        assert before < chain[-1]
        assert not made[before].abandoned
        chain.append(before)
    lost = [each for each in made.values() if each.number not in chain and not each.abandoned]
    assert all("rolled_back_to" in each.tags for each in lost), lost
    for version in client.search_model_versions(f"name = '{NAME}'"):
        told = version.tags.get("coreml_sha256")
        of = [each for each in made.values() if each.source == int(version.version) and not each.abandoned]
        assert told in {None, *(each.sha256 for each in of)}


def test_the_first_promotion_is_undone_too(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = Judged(judge(own_store).examination, own_store / DEFAULT_OUTPUT)
    tracker = Tracker(uri_of(own_store))

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "set_alias", die)
        with pytest.raises(Killed):
            judged.publish(uri_of(own_store))
    assert (own_store / DEFAULT_OUTPUT).is_file()
    settle_left_over(tracker, NAME)
    assert current(own_store) == Current(None, None)
    assert not (own_store / DEFAULT_OUTPUT).exists()
    tags = client_of(own_store).get_model_version(NAME, "1").tags
    assert not tags.keys() & set(TAGS)
    assert judged.publish(uri_of(own_store)) == 2
    assert_whole(own_store)


def test_an_error_undoes_what_was_begun(own_promoted: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = judged(own_promoted, "--author", "Ada")
    before, file = current(own_promoted), shipped(own_promoted)
    tag_version = Registry.tag_version

    def fail(*arguments):
        monkeypatch.setattr(Registry, "tag_version", tag_version)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Registry, "tag_version", fail)
    with pytest.raises(OSError, match="No space"):
        ours.publish(uri_of(own_promoted))
    assert (current(own_promoted), shipped(own_promoted)) == (before, file)
    assert_whole(own_promoted)


def test_check_says_whether_the_file_is_the_champions(own_promoted: Path, judged: Judge, command: Command) -> None:
    """Of a promotion, of an older one, of somebody else, and none."""
    place = own_promoted / DEFAULT_OUTPUT
    assert command("conversion.promote", "--check", "--output", DEFAULT_OUTPUT).code == 0
    first = place.read_bytes()
    judged(own_promoted, "--author", "Ada").publish(uri_of(own_promoted))
    found = command("conversion.promote", "--check")
    assert (found.code, found.err) == (0, "")
    assert found.out.strip() == f"{place} is the file of promotion 2, the champion of {NAME}."
    before = snapshot(own_promoted)
    for content, told in (
        (first, f"{place} is not the champion's file, promotion 2, but that of promotion 1"),
        (b"another", f"{place} is not the champion's file, promotion 2, but of SHA-256"),
        (None, f"there is no {place}"),
    ):
        place.unlink()
        if content:
            place.write_bytes(content)
        found = command("conversion.promote", "--check", "--json")
        assert found.code == 1
        assert told in found.error
        assert told in found.json["problems"][0]
    place.write_bytes((artifacts(own_promoted, 2) / place.name).read_bytes())
    assert snapshot(own_promoted) == before
    assert command("conversion.promote", "--check", "--model", "nope").code == 2
    refused = command("conversion.promote", "--check", "--run", "abc", "--max-bytes", "9")
    assert refused.code == 2
    assert "--check takes --model, --output and --tracking-uri, not --max-bytes, --run." in refused.error


def test_check_tells_of_a_promotion_that_has_not_ended(
    own_promoted: Path, judged: Judge, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    ours = judged(own_promoted, "--author", "Ada")

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Promotions, "make_champion", die)
        with pytest.raises(Killed):
            ours.publish(uri_of(own_promoted))
    found = command("conversion.promote", "--check", "--output", DEFAULT_OUTPUT)
    assert found.code == 1
    assert "a promotion was begun on" in found.err
    assert "is not the champion's file, promotion 1, but that of promotion 2" in found.err
