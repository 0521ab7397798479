"""What waits on disk for MLflow: found under any study's name, delivered though beside it lies what cannot be read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState, create_trial

from architectures.errors import UsageError
from benchmarks.no_training import NoTraining
from conversion.promotion.place import default_output
from experiments import datasets
from experiments.config import Environment, EpochMetrics
from experiments.names import MAX_FILE_NAME, folder_name
from experiments.tracking import Tracker, run_start
from experiments.tracking.journal import Journal
from search.config import SweepConfig
from search.orchestrate import SweepResult, sweep
from search.repair.run_diff import _config
from search.study.study import Study
from tests.support.commands import Command
from tests.support.sweeps import assert_nothing_lost, children_of, study_of

LONG = "数字识别超参数搜索实验" * 18  # 594 bytes
PLACE = Environment("nowhere", "none", 1, "none", None)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def configured(study: str, trials: int) -> SweepConfig:
    return SweepConfig(
        "sqlite:///mlflow.db", study, dataset="digits", trials=trials, epochs=2, filters=(4,), pruner="none",
        figures=False,
    )  # fmt: skip


def swept(study: str, trials: int = 1) -> SweepResult:
    config = configured(study, trials)
    return sweep(config, engine=lambda _: NoTraining())


def waiting_trial(study: str) -> FrozenTrial:
    """A trial in the queue of a study, of which a sweep that is gone has reported two epochs."""
    known = study_of(Path.cwd(), study)
    first = known.trials[0]
    params = {**first.params, "dropout": len(known.trials) / 100}
    trial = create_trial(
        state=TrialState.WAITING,
        params=params,
        distributions=first.distributions,
        intermediate_values={1: 0.5, 2: 0.25},
        user_attrs={"coreml_bytes": 2_000, "owner": json.dumps({"host": "gone", "pid": 1, "started": 0.0})},
    )
    known.add_trial(trial)
    return known.trials[-1]


def writes(result: SweepResult, number: int) -> list[str]:
    """Lines that a sweep has left of a trial that was pruned."""
    study = Study(configured(result.study, 9))
    trial = study.optuna_study.trials[number]
    config = _config(study.config, trial)
    start = run_start(
        Tracker("sqlite:///mlflow.db").experiment("digits"),
        f"{config.architecture}-{number}",
        config,
        dataset=datasets.load("digits"),
        environment=PLACE,
        parent=result.parent_run_id,
        study=result.study,
        trial_number=number,
    )
    epochs = [EpochMetrics(epoch, 1.0, 0.5, 1.0, value, 0.1) for epoch, value in ((1, 0.5), (2, 0.25))]
    head = {"at": 1.8e9, "parent": result.parent_run_id}
    size = {"parameters": 400, "macs": 4_000, "coreml_bytes": 2_000}
    found = [{"do": "start", "start": asdict(start)}, {"do": "size", "size": size}]
    found += [{"do": "epoch", "metrics": asdict(epoch)} for epoch in epochs]
    found.append({"do": "end", "status": "KILLED", "outcome": "pruned"})
    return [json.dumps(head | one) for one in found]


@pytest.mark.parametrize(
    ("study", "folder"),
    [("plain", folder_name("plain")), ("früh", quote("früh")), (LONG[:150], folder_name(LONG[:150]))],
    ids=["of-today", "of-earlier-versions", "long"],
)
def test_what_was_kept_is_delivered(study: str, folder: str, command: Command) -> None:
    result = swept(study)
    trial = waiting_trial(study)
    place = Path("mlflow-outbox", folder)
    place.mkdir(parents=True)
    (place / f"{trial.number}.jsonl").write_text("\n".join(writes(result, trial.number)))
    found = command("search.doctor", "--json")
    assert found.code == 0, found
    assert [one["remedy"] for one in found.json["findings"]] == ["delivered"]
    assert study_of(Path.cwd(), study).trials[trial.number].state == TrialState.PRUNED
    (run,) = [
        run for run in children_of(Path.cwd(), study, "digits") if run.data.tags["trial_number"] == str(trial.number)
    ]
    assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "pruned")
    history = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db").get_metric_history(run.info.run_id, "val_accuracy")
    assert [point.value for point in history] == [0.5, 0.25]
    assert not list(place.iterdir())
    assert command("search.doctor", "--json").json["findings"] == []


def test_a_study_never_leaves_the_outbox(command: Command) -> None:
    files = [Path(name) for name in ("0.keras", "0.jsonl", "1.keras")]
    for file in files:
        file.write_text("precious")
    for name in (".", ".."):
        found = command("search.sweep", "--study", name)
        assert (found.code, f"{name!r} is not a name" in found.error) == (2, True)
        assert Journal(Path("mlflow-outbox"), name).folder.parent.name == "mlflow-outbox"
        Journal(Path("mlflow-outbox"), name).remove(0)
        with pytest.raises(UsageError):
            configured(name, 1)
    assert [file.read_text() for file in files] == ["precious"] * 3


@pytest.mark.parametrize("name", [".", "..", LONG, "a" * 200, "con", "A", "a", "..a", "a b", "🙂" * 90])
def test_folders_of_names_are_short_and_distinct(name: str) -> None:
    folder = folder_name(name)
    assert len(folder.encode()) <= 100
    assert folder not in {folder_name(other) for other in (f"{name}x", f"x{name}", name.swapcase() + "-")}
    place = default_output(name, image=(28, 28, 3), labels=("a", "b"))
    assert len(place.parts) == 4
    assert all(len(part.encode()) <= MAX_FILE_NAME and part.strip(".") for part in place.parts)


UNREADABLE = {
    "not-utf-8": lambda lines: b"\xff\xfe" + "\n".join(lines).encode(),
    "a-field-of-another-version": lambda lines: "\n".join(lines).replace('"macs"', '"mults"').encode(),
    "nothing-to-do": lambda lines: "\n".join(lines).replace('"do": "size", ', "").encode(),
    "something-else-to-do": lambda lines: "\n".join(lines).replace('"do": "size"', '"do": "dance"').encode(),
    "no-start": lambda lines: "\n".join(lines[1:]).encode(),
    "damaged-in-the-middle": lambda lines: "\n".join([lines[0], lines[1][:9], *lines[2:]]).encode(),
    "a-list": lambda lines: b"[1, 2]\n" + "\n".join(lines).encode(),
    "a-folder": None,
}


@pytest.mark.parametrize(
    ("kinds", "by"),
    [
        (["not-utf-8"], "doctor"),
        (["a-field-of-another-version", "a-folder"], "sweep"),
        *(pytest.param(list(UNREADABLE), by, marks=pytest.mark.slow, id=f"all-{by}") for by in ("sweep", "doctor")),
    ],
)
def test_what_cannot_be_read_is_set_aside_and_said_once(kinds: list[str], by: str, command: Command, capfd) -> None:
    result = swept("odd")
    good, *bad = (waiting_trial("odd").number for _ in ("good", *kinds))
    place = Path("mlflow-outbox", folder_name("odd"))
    place.mkdir(parents=True)
    (place / f"{good}.jsonl").write_text("\n".join(writes(result, good)))
    for kind, number in zip(kinds, bad, strict=True):
        if make := UNREADABLE[kind]:
            (place / f"{number}.jsonl").write_bytes(make(writes(result, number)))
        else:
            (place / f"{number}.jsonl").mkdir()
    if by == "doctor":
        dry = command("search.doctor", "--dry-run", "--json")
        assert len(dry.json["findings"]) == 1 + len(bad)
        assert all((place / f"{number}.jsonl").exists() for number in bad)
        found = command("search.doctor", "--json")
        assert found.code == 0, found
        problems = [one["problem"] for one in found.json["findings"] if "cannot be read" in one["problem"]]
        assert len(problems) == len(bad)
    capfd.readouterr()
    swept("odd", 2 + len(bad))
    said = capfd.readouterr().err.count("cannot be read")
    assert said == (len(bad) if by == "sweep" else 0)
    assert {path.name for path in place.iterdir()} == {f"{number}.jsonl.unreadable" for number in bad}
    trials = study_of(Path.cwd(), "odd").trials
    assert trials[good].state == TrialState.PRUNED
    assert {trials[number].state for number in bad} == {TrialState.COMPLETE}
    assert len(children_of(Path.cwd(), "odd", "digits")) == 2 + len(bad)


def test_a_sweep_with_a_name_of_600_bytes_in_a_long_file() -> None:
    swept(LONG[:150], 2)
    assert_nothing_lost(Path.cwd(), LONG[:150], 2, 2, experiment="digits")
