"""A sweep of heads on a pretrained backbone, from photographs to a promoted file: a network without `filters`."""

from __future__ import annotations

from pathlib import Path

import pytest

from architectures.errors import UsageError
from benchmarks.no_training import NoTraining
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture, Ready
from search.orchestrate import sweep
from tests.support import photographs
from tests.support.commands import Command, Outcome, invoke
from tests.support.stores import MadeOnce, Swept, copy_store
from tests.support.sweeps import NO_FIGURES, children_of, study_of

DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
HEADS = ["--architecture", "efficientnet_lite0", "--knob", "weights=imagenet", "--knob", "train=head"]
FORCED = ["--force", "--reason", "four test images"]
SMALL = ["--dataset", "folder:photos", "--image-size", "32x32", "--augment", "off", "--batch-size", "8"]


@pytest.fixture(scope="module")
def heads(made_once: MadeOnce) -> Swept:
    def made(folder: Path) -> Outcome:
        photographs.write(folder / "photos", 20)
        options = ["--study", "heads", "--trials", "1", "--epochs", "2", "--keep", "1", *NO_FIGURES, "--json"]
        return invoke("search.sweep", *SMALL, *HEADS, *options, cwd=folder)

    return Swept(*made_once("heads", made))


@pytest.mark.slow
def test_the_record_names_the_weights_and_no_filters(heads: Swept) -> None:
    for run in children_of(heads.folder, "heads", "folder-photos-32x32"):
        assert run.data.params["weights"] == f"imagenet#sha256={DIGEST}"
        assert run.data.params["train"] == "head"
        assert "filters" not in run.data.params
        assert run.info.status == "FINISHED"
    assert [row["filters"] for row in heads.result["leaderboard"]] == [None]
    study = study_of(heads.folder, "heads")
    assert all("filters" not in trial.params for trial in study.trials)


@pytest.mark.slow
def test_every_command_takes_it(heads: Swept, tmp_path: Path, command: Command) -> None:
    copy_store(heads.folder, tmp_path)
    board = command("experiments.leaderboard", "--experiment", "folder-photos-32x32")
    assert board.code == 0, board.err
    assert "imagenet 57934424" in board.out
    run_id = heads.result["leaderboard"][0]["run_id"]
    again = command("experiments.reproduce", run_id, "--json")
    assert (again.code, again.json["verdict"]) == (0, "identical"), again.err
    # Four test images are too few to tell a file from guessing: what is tried is that it is made and verified.
    promoted = command("conversion.promote", "--run", run_id, "--output", "Photos.mlmodel", *FORCED, "--json")
    assert promoted.code == 0, promoted.err
    assert promoted.json["coreml_bytes"] == heads.result["leaderboard"][0]["coreml_bytes"]


def test_a_study_is_not_continued_with_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Pinned(NoTraining):
        def __init__(self, weights: str) -> None:
            super().__init__()
            self.known = KnownArchitecture("malireddi", 32, 0.2, None, (("weights", (weights,)),))

        def wait_until_ready(self) -> Ready:
            return Ready((self.known,), (), None, ())

    def run(weights: str, trials: int) -> None:
        config = SweepConfig("sqlite:///mlflow.db", "pinned", trials=trials, epochs=1, filters=(8,), figures=False)
        sweep(config, engine=lambda _: Pinned(weights))

    run("imagenet#sha256=aa", 1)
    with pytest.raises(
        UsageError, match=r"made with malireddi\.weights imagenet#sha256=aa, not imagenet#sha256=bb: its"
    ):
        run("imagenet#sha256=bb", 2)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("search.trial", ["--filters", "8"], "efficientnet_lite0 has fixed widths: leave --filters out."),
        (
            "search.trial",
            ["--knob", "alpha=0.5"],
            "None of the architectures has a knob 'alpha'. Their knobs: features, hidden, ",
        ),
        ("search.trial", ["--knob", "train=head"], "train=head without weights would keep random ones"),
        ("search.trial", ["--knob", "weights=photos/none.pth"], "There is no file photos/none.pth with weights."),
        ("search.sweep", ["--filters", "8", "--knob", "train=all"], "have fixed widths: leave --filters out."),
    ],
)
def test_what_would_do_nothing_is_refused(
    module: str, options: list[str], message: str, tmp_path: Path, command: Command
) -> None:
    photographs.write(tmp_path / "photos", 10)
    found = command(module, *SMALL, "--architecture", "efficientnet_lite0", *options)
    assert found.code == 2, found.err
    (line,) = [line for line in found.err.splitlines() if line.startswith("error: ")]
    assert message in line
