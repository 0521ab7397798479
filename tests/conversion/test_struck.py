"""Promote, rollback and prune against each other, struck at random steps: whatever is left, the next command mends."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conversion.promotion.place import DEFAULT_OUTPUT
from tests.conversion.test_turns import FORCED, assert_whole, unregister
from tests.support.commands import Outcome, invoke
from tests.support.judged import Judged, judge
from tests.support.killed_at import KILLED
from tests.support.promotions import shipped
from tests.support.stores import MadeOnce, Promoted, Swept, copy_promoted, copy_store, rows
from tests.support.struck import REFUSED, act, keep
from tests.support.warm import warm_context

ACTIONS = ("promote", "rollback", "prune")
SEEDS = range(50)  # with twice as many strikes


@dataclass(frozen=True)
class Scene:
    """A folder after two promotions with a model that nothing needs and somebody is about to promote."""

    folder: Path
    steps: dict[str, int]  # that each action takes alone


def copy_scene(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    copy_store(source, target)
    for name in ("ios", "tmp"):
        shutil.copytree(source / name, target / name)
    shutil.copy(source / "judged", target)


def start(action: str, folder: Path, kill_at: int | None, counted: Path | None = None):
    process = warm_context().Process(target=act, args=(action, folder, kill_at, counted))
    process.start()
    return process


def run(action: str, folder: Path, kill_at: int | None = None, counted: Path | None = None) -> int | None:
    process = start(action, folder, kill_at, counted)
    process.join(300)
    return process.exitcode


@pytest.fixture(scope="module")
def scene(
    promoted: Promoted, swept: Swept, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    def made(folder: Path) -> Outcome:
        copy_promoted(promoted, folder)
        (folder / "tmp").mkdir()
        assert invoke("conversion.promote", "--author", "Ada", cwd=folder).code == 0
        unneeded = swept.result["leaderboard"][1]
        unregister(folder, unneeded["version"])
        keep(Judged(judge(folder, "--run", unneeded["run_id"], *FORCED).examination, DEFAULT_OUTPUT), folder)
        steps = {}
        for action in ACTIONS:
            alone = tmp_path_factory.mktemp(action)
            copy_scene(folder, alone)
            assert run(action, alone, counted=alone / "steps") == 0
            steps[action] = int((alone / "steps").read_text())
            assert_whole(alone)
        return Outcome(0, json.dumps(steps), "")

    made_scene = Scene(*made_once("scene", made))
    before = rows(made_scene.folder), shipped(made_scene.folder)
    yield made_scene
    assert (rows(made_scene.folder), shipped(made_scene.folder)) == before, "a test has changed what all of them share"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_struck_at_a_random_point(seed: int, scene: Scene, tmp_path: Path) -> None:
    chance = random.Random(seed)
    struck = chance.sample(ACTIONS, chance.choice((1, 2, 2, 3)))
    copy_scene(scene.folder, tmp_path)
    points = {action: chance.randint(1, scene.steps[action]) for action in struck}
    processes = {action: start(action, tmp_path, points.get(action)) for action in chance.sample(ACTIONS, 3)}
    codes = {}
    for action, process in processes.items():
        process.join(300)
        codes[action] = process.exitcode
    assert all(code in ({0, REFUSED, KILLED} if action in struck else {0, REFUSED}) for action, code in codes.items())
    assert run(chance.choice(("promote prune", "rollback promote prune")), tmp_path) == 0  # the next commands
    assert_whole(tmp_path)
    litter = {path.name for path in tmp_path.iterdir()} - {"mlflow.db", "optuna.db", "mlruns", "ios", "tmp", "judged"}
    assert not litter
    assert not list((tmp_path / "tmp").iterdir())
