"""`experiments.device`: what the app measured on a phone reaches the run of the file that was measured, and no other.

The report is the one that the Swift package's own tests encode; what it is of is put into it here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conversion import runtime
from conversion.promotion.place import DEFAULT_OUTPUT
from experiments.device_report import MODEL_TYPES, PROCESSORS, read_report
from tests.support.commands import Command
from tests.support.promotions import artifacts, client_of
from tests.support.stores import Promoted

GOLDEN = Path(__file__).parents[2] / "ios/DigitKit/Tests/DigitKitTests/golden-device-report.json"
SWIFT = Path(__file__).parents[2] / "ios/DigitKit/Sources/DigitKit"


def report_of(file: Path, path: Path, **changed: object) -> Path:
    """What the app would share after it has measured this file."""
    interface = runtime.load(file).interface
    told = {"metadata": dict(interface.metadata.user_defined), "format": interface.format, **changed}
    path.write_text(json.dumps(json.loads(GOLDEN.read_text()) | told))
    return path


@pytest.fixture
def store(own_promoted: Path) -> Path:
    return own_promoted


def metrics(folder: Path, run_id: str) -> dict[str, float]:
    found = client_of(folder).get_run(run_id).data.metrics
    return {key: value for key, value in found.items() if key.startswith("device_")}


def test_the_figures_reach_the_run(command: Command, store: Path, promoted: Promoted) -> None:
    run_id = promoted.result["run_id"]
    report_of(store / DEFAULT_OUTPUT, store / "report.json")
    done = command("experiments.device", "report.json", "--json", cwd=store)
    assert (done.code, done.err) == (0, "")
    expected = {
        "device_cpu_load_ms": 1.0,
        "device_cpu_first_ms": 3.0,
        "device_cpu_latency_ms": 104.0,
        "device_cpu_and_neural_engine_load_ms": 205.0,
        "device_cpu_and_neural_engine_first_ms": 207.0,
        "device_cpu_and_neural_engine_latency_ms": 308.0,
        "device_all_load_ms": 409.0,
        "device_all_first_ms": 411.0,
        "device_all_latency_ms": 512.0,
    }
    assert done.json["figures"] == metrics(store, run_id) == expected
    assert (done.json["run_id"], done.json["promotion"]) == (run_id, promoted.result["promotion"])
    assert done.json["coreml_sha256"] == promoted.result["coreml_sha256"]
    run = client_of(store).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["device"] == "iPhone16,1, iOS 18.1"
    assert run.data.tags["device_coreml_sha256"] == promoted.result["coreml_sha256"]
    assert run.data.tags["device_measured_at"] == "2026-11-29T12:00:00Z"
    (kept,) = Path(run.info.artifact_uri.removeprefix("file://"), "device").iterdir()
    assert kept.read_text() == (store / "report.json").read_text()
    shown = command("experiments.device", "report.json", cwd=store).out
    assert "iPhone16,1, iOS 18.1: promotion 1 of mnist5k-classifier-coreml" in shown
    assert "512.00" in shown


def test_the_leaderboard_shows_it_beside_the_host(command: Command, store: Path, promoted: Promoted) -> None:
    before = command("experiments.leaderboard", "--markdown", cwd=store).out
    assert "Keras, host" in before
    assert "on device" not in before
    report_of(store / DEFAULT_OUTPUT, store / "report.json")
    assert command("experiments.device", "report.json", cwd=store).code == 0
    for of in ([], ["--model", "mnist5k-classifier"]):
        lines = command("experiments.leaderboard", *of, "--markdown", cwd=store).out.splitlines()
        assert "Keras, host | on device" in lines[0]
        (row,) = [line for line in lines if promoted.result["run_id"] in line]
        assert "| 512.00 ms, iPhone16,1, iOS 18.1 |" in row
        board = command("experiments.leaderboard", *of, "--json", cwd=store).json["leaderboard"]
        measured = {row["run_id"]: (row["device_latency_ms"], row["device"]) for row in board}
        assert measured.pop(promoted.result["run_id"]) == (512.0, "iPhone16,1, iOS 18.1")
        assert set(measured.values()) == {(None, None)}


def test_a_second_device_replaces_the_first_whose_report_stays(
    command: Command, store: Path, promoted: Promoted
) -> None:
    run_id = promoted.result["run_id"]
    timings = [{"processors": "all", "load_ms": 9.5, "first_ms": 2.5, "median_ms": 0.25, "answers": 100}]
    for number, changed in enumerate(({}, {"device": "iPad14,1", "timings": timings})):
        report_of(store / DEFAULT_OUTPUT, store / f"{number}.json", **changed)
        assert command("experiments.device", f"{number}.json", cwd=store).code == 0
    assert metrics(store, run_id)["device_all_latency_ms"] == 0.25
    run = client_of(store).get_run(run_id)
    assert run.data.tags["device"] == "iPad14,1, iOS 18.1"
    assert len(list(Path(run.info.artifact_uri.removeprefix("file://"), "device").iterdir())) == 2


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"format": "mlprogram"}, "is the file that was measured"),
        ({"metadata": {"compression": "palette2"}}, "is the file that was measured (compression palette2, "),
        ({"metadata": {"threshold": "0.0001"}}, "is the file that was measured"),
        ({"metadata": {"run_id": "f" * 32}}, "f" * 32),
    ],
)
def test_a_file_that_this_store_did_not_promote(
    command: Command, store: Path, promoted: Promoted, changed: dict, complaint: str
) -> None:
    told = dict(runtime.load(store / DEFAULT_OUTPUT).interface.metadata.user_defined)
    if "metadata" in changed:
        changed = {"metadata": told | changed["metadata"]}
    report_of(store / DEFAULT_OUTPUT, store / "report.json", **changed)
    done = command("experiments.device", "report.json", cwd=store)
    assert done.code == 2, done.out
    assert complaint in done.error
    assert metrics(store, promoted.result["run_id"]) == {}


def test_of_two_promotions_of_a_run_the_one_that_was_measured(
    command: Command, store: Path, promoted: Promoted
) -> None:
    arguments = ["--run", promoted.result["run_id"], "--compress", "float16", "--output", "other/X.mlmodel", "--json"]
    second = command("conversion.promote", *arguments, cwd=store)
    assert second.code == 0, second.err
    for file, result in ((DEFAULT_OUTPUT, promoted.result), ("other/X.mlmodel", second.json)):
        report_of(store / file, store / "report.json")
        done = command("experiments.device", "report.json", "--json", cwd=store)
        assert done.json["coreml_sha256"] == result["coreml_sha256"]
        assert done.json["promotion"] == result["promotion"]


def test_what_apple_leaves_out_of_the_metadata_is_no_difference(command: Command, store: Path) -> None:
    told = dict(runtime.load(store / DEFAULT_OUTPUT).interface.metadata.user_defined)
    del told["com.apple.coreml.model.preview.type"]
    report_of(store / DEFAULT_OUTPUT, store / "report.json", metadata=told, format=None)
    assert command("experiments.device", "report.json", cwd=store).code == 0


def test_a_promotion_whose_evidence_names_no_metadata(command: Command, store: Path, promoted: Promoted) -> None:
    """One of before: run, compression and format tell which file it is."""
    place = artifacts(store, promoted.result["promotion"]) / "promotion.json"
    evidence = json.loads(place.read_text())
    del evidence["metadata"]
    place.write_text(json.dumps(evidence))
    report_of(store / DEFAULT_OUTPUT, store / "report.json")
    done = command("experiments.device", "report.json", "--json", cwd=store)
    assert done.json["coreml_sha256"] == promoted.result["coreml_sha256"]
    report_of(store / DEFAULT_OUTPUT, store / "report.json", format="mlprogram")
    assert command("experiments.device", "report.json", cwd=store).code == 2


def test_a_kept_model_that_was_never_promoted(command: Command, own_store: Path, promoted: Promoted) -> None:
    report_of(promoted.folder / DEFAULT_OUTPUT, own_store / "report.json")
    done = command("experiments.device", "report.json", cwd=own_store)
    assert done.code == 2
    assert "was never promoted here" in done.error


WRONG = {
    "a simulator": ({"is_simulator": True}, "was measured in a simulator"),
    "another version": ({"version": 2}, "has version 2 of the report, this program reads 1"),
    "no timings": ({"timings": []}, "it holds no timing"),
    "unknown processors": (
        {"timings": [{"processors": "gpu", "load_ms": 1, "first_ms": 1, "median_ms": 1}]},
        "'gpu' is none of cpu, cpu_and_neural_engine, all",
    ),
    "no number": (
        {"timings": [{"processors": "all", "load_ms": 1, "first_ms": 1, "median_ms": "fast"}]},
        "median_ms is 'fast', not milliseconds",
    ),
    "negative": (
        {"timings": [{"processors": "all", "load_ms": -1, "first_ms": 1, "median_ms": 1}]},
        "load_ms is -1, not milliseconds",
    ),
    "a missing figure": ({"timings": [{"processors": "all", "load_ms": 1}]}, "KeyError('first_ms')"),
    "a name of two lines": ({"device": "iPhone\n16"}, "is not a name"),
    "no run": ({"metadata": {}}, "the metadata name no run_id"),
    "no time": ({"measured_at": "yesterday"}, "measured_at is 'yesterday'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_report_is_refused_in_one_line(command: Command, tmp_path: Path, name: str) -> None:
    changed, complaint = WRONG[name]
    (tmp_path / "report.json").write_text(json.dumps(json.loads(GOLDEN.read_text()) | changed))
    done = command("experiments.device", "report.json")
    assert done.code == 2
    assert complaint in done.error
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not a report of the app"),
        (b"{}", "is not a report of the app"),
        (b" " * 1_000_001, "bytes: no report of the app has more"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_other_files_are_refused(command: Command, tmp_path: Path, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)
    done = command("experiments.device", "report.json")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert complaint in done.error


def test_swift_and_python_know_the_same() -> None:
    source = (SWIFT / "DeviceReport.swift").read_text()
    assert f"static let version = {json.loads(GOLDEN.read_text())['version']}\n" in source
    assert tuple(timing["processors"] for timing in json.loads(GOLDEN.read_text())["timings"]) == PROCESSORS
    app = (SWIFT.parents[2] / "Digits/Reading/BundledModel.swift").read_text()
    assert all(f'"{name}": "model.' in app for name in MODEL_TYPES)
    report = read_report(GOLDEN)
    assert (report.title, report.format) == ("iPhone16,1, iOS 18.1", "neuralnetwork")
