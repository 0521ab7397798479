"""A hyperparameter that an optimizer takes is three edits; everything else derives from them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.commands import environment
from tests.test_structure import FLOORS, ROOT

FIELD = """    clipping: Annotated[
        float,
        Number(0, 10),
        RecipeOption("norm to which each gradient is clipped", "clipped", "optimizer"),
    ] = 0.0
"""
EDITS = {
    "experiments/recipe.py": {
        "    mixup: Annotated[\n": f"{FIELD}    mixup: Annotated[\n",
        "    mixup: Annotated[Range": "    clipping: Annotated[Range, NumberRange(Number(0.1, 10))] | None = None\n"
        "    mixup: Annotated[Range",
    },
    "architectures/knobs.py": {'        "momentum",\n': '        "momentum",\n        "clipping",\n'},
    "experiments/training/optimizers.py": {
        "momentum: float = SGD_MOMENTUM, weight_decay: float)": "momentum: float = SGD_MOMENTUM, weight_decay: float, "
        "clipping: float = 1.0)",
        "momentum=momentum, weight_decay=weight_decay or None": "momentum=momentum, clipnorm=clipping or None, "
        "weight_decay=weight_decay or None",
    },
}
USED = """
import pytest

from architectures.errors import UsageError
from experiments.config import RunConfig
from experiments.recipe import recipe_of
from experiments.training import optimizers
from search import sweep, trial
from search.config import FIXED, SweepConfig
from search.trials.config import TrialConfig

assert "--clipping LOW:HIGH" in sweep.parser().format_help()
assert sweep.parser().parse_args(["--clipping", "1:2"]).clipping == (1, 2)
assert trial.parser().parse_args(["--architecture", "pocket", "--clipping", "2"]).clipping == 2

unasked = TrialConfig("sqlite:///mlflow.db", "pocket", optimizer="sgd")
assert unasked.clipping is None
with pytest.raises(UsageError, match="0.01 is out of range: at least 0.1"):
    TrialConfig("sqlite:///mlflow.db", "pocket", clipping=0.01)
taken = optimizers.get("sgd").takes
assert taken.resolved({"clipping": None}) == {"clipping": 1}
with pytest.raises(UsageError, match="takes no --clipping"):
    optimizers.get("adam").takes.resolved({"clipping": 2})

night = SweepConfig("sqlite:///mlflow.db", "night", clipping=(1, 2))
assert "clipping" in FIXED
assert night.space.clipping == (1, 2)

run = RunConfig("pocket", "mnist5k", 16, 0.2, optimizer="sgd", clipping=0.5)
assert recipe_of(run)["clipping"] == 0.5
assert optimizers.build(run, 0.1).clipnorm == 0.5
"""


def test_three_files_suffice(tmp_path: Path) -> None:
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    for name, edits in EDITS.items():
        file = tmp_path / name
        text = file.read_text()
        for before, after in edits.items():
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        file.write_text(text)
    assert len(EDITS) == 3
    done = subprocess.run(
        [sys.executable, "-c", USED],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
