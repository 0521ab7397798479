"""Names that do harm where they are shown: over every command, file and page that shows what a store holds."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

import architectures
from architectures.command import console
from architectures.display import visible
from conversion.coreml.convert import convert
from conversion.coreml.facts import FileFacts
from conversion.coreml.writing import write
from conversion.draw.reader import open_reader
from conversion.draw.server import _facts
from experiments.classifier import as_classifier
from experiments.evaluation.metrics import evaluate
from experiments.tracking import Tracker
from experiments.views import tables
from experiments.views.page import render
from tests.support.commands import Command, Outcome

NAME = (
    "=cmd|' /C calc'!A0\x1b[31mred\x1b]0;title\x07\x9b2J\r\nerror: forged\n\u202egnp.exe\u2066\t"
    "<script>alert(1)</script>[bold]x[/bold]:smile:![p](http://evil.example/p)[l](javascript:alert(1)) | ` * _"
)
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
PARAMS = {
    "architecture": NAME,
    "dataset": NAME,
    "filters": "4",
    "dropout": "0.1",
    "batch_size": "64",
    "learning_rate": "0.001",
    "epochs": "2",
    "seed": "0",
    "precision": NAME,
    "optimizer": NAME,
    "augment": "False",
    "schedule": NAME,
    "activation": NAME,
}
MODEL = NAME.replace("/", "").replace(":", "")  # MLflow takes all else
EPOCH = ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds")


class Hostile:
    """A store in which everything that a person may name has the worst name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlflow.db'}"
        self.tracker = Tracker(self.uri)
        self.client = MlflowClient(self.uri, self.uri)
        self.experiment = self.client.create_experiment(NAME, (folder / "mlruns").as_uri())
        self.runs = [self.add(0.9 + number / 100) for number in range(3)]
        self.client.create_registered_model(MODEL)
        for number, run in enumerate(self.runs):
            model = self.client.create_logged_model(self.experiment, "model", source_run_id=run)
            tags = {"keras_sha256": NAME, "model_id": model.model_id, "study": NAME, "architecture": NAME}
            tags |= {"best_val_accuracy": str(0.9 + number / 100), "expected_coreml_bytes": "1000", "dataset": NAME}
            tags |= {"coreml_sha256": NAME, "coreml_bytes": "900", "compression": NAME, "test_accuracy": "0.9"}
            self.client.create_model_version(MODEL, model.artifact_location, run, tags, model_id=model.model_id)

    def add(self, accuracy: float, params: dict[str, str] | None = None, tags: dict[str, str] | None = None) -> str:
        """A finished run; returns its id."""
        held = {"study": NAME, "trial_number": "0", "processor": NAME, "dataset_digest": NAME, "plugins": NAME}
        run = self.client.create_run(self.experiment, run_name=NAME, tags=held | {"val_images": "500"} | (tags or {}))
        points = [Metric(key, accuracy + step / 100, 0, step) for key in EPOCH for step in (1, 2)]
        points += [Metric("best_val_accuracy", accuracy, 0, 2), Metric("coreml_bytes", 1e5 * accuracy, 0, 2)]
        written = [Param(key, value) for key, value in (PARAMS | (params or {})).items()]
        self.client.log_batch(run.info.run_id, points, written, [RunTag("version.x", NAME + str(accuracy))])
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run.info.run_id


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    return Hostile(tmp_path_factory.mktemp("hostile"))


def assert_harmless(text: str) -> None:
    assert not UNSAFE.search(text), ascii(text)
    assert not any(line.lstrip().startswith("error: forged") for line in text.splitlines())
    assert "\U0001f604" not in text, "a name became an emoji"


COMMANDS = {
    "table": ["experiments.leaderboard"],
    "of a study": ["experiments.leaderboard", "--study", "{study}"],
    "of a model": ["experiments.leaderboard", "--model", MODEL],
    "unknown study": ["experiments.leaderboard", "--study", "\x1b[31mx"],
    "unknown experiment": ["experiments.leaderboard", "--experiment", "none"],
    "unknown model": ["experiments.leaderboard", "--model", "none"],
    "csv": ["experiments.leaderboard", "--csv"],
    "markdown": ["experiments.leaderboard", "--markdown"],
    "json": ["experiments.leaderboard", "--json"],
    "compare": ["experiments.compare", "{0}", "{1}", "--html", "compared.html"],
    "several of one name": ["experiments.compare", "{name}", "{1}"],
    "compare json": ["experiments.compare", "{0}", "{1}", "--json"],
    "reproduce": ["experiments.reproduce", "{0}"],
    "reproduce, debug": ["experiments.reproduce", "{0}", "--debug"],
    "prune": ["experiments.prune", "--dry-run"],
    "promote": ["conversion.promote", "--model", MODEL, "--dry-run"],
    "promote a run": ["conversion.promote", "--run", "{0}", "--dry-run"],
    "rollback": ["conversion.rollback", "--model", MODEL, "--dry-run"],
    "doctor": ["search.doctor", "--dry-run"],
    "usage": ["experiments.leaderboard", "--limit", "\x1b[31mx"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(name: str, hostile: Hostile, command: Command) -> None:
    module, *arguments = COMMANDS[name]
    places = dict(enumerate(hostile.runs))
    known = {"{study}": NAME, "{name}": NAME} | {f"{{{number}}}": run for number, run in places.items()}
    found: Outcome = command(module, *(known.get(each, each) for each in arguments), cwd=hostile.folder)
    if "json" in name:
        assert found.json
        assert json.dumps(NAME) in found.out  # as it is: a program reads it
        assert_harmless(found.err)
    else:
        assert found.out + found.err
        assert_harmless(found.out + found.err.replace("\nerror: forged", "" if "debug" in name else "\nerror: forged"))
    assert "Traceback" not in found.err or "debug" in name


def test_names_are_shown_as_they_are_but_for_what_does_harm(hostile: Hostile, command: Command) -> None:
    out = command("experiments.leaderboard", cwd=hostile.folder).out
    assert out.count(visible(NAME)) >= 3


def test_csv(hostile: Hostile, command: Command) -> None:
    out = command("experiments.leaderboard", "--csv", cwd=hostile.folder).out
    head, *rows = csv.reader(io.StringIO(out))
    assert len(rows) == 3
    for row in rows:
        values = dict(zip(head, row, strict=True))
        assert values["run"] == f"'{visible(NAME)}"
        assert values["val_accuracy"].startswith("0.9")
        assert not any(cell[:1] in {*"=+-@"} for cell in row)


@pytest.mark.parametrize("cell", ["-0.5", "+1", "-1e-05", ".5", "-3.", -0.5, 7, None, True, "a-b", "", "7=7"])
def test_cells_that_stay(cell: object) -> None:
    written = io.StringIO()
    tables.write_csv([[cell, "x"]], written)
    assert written.getvalue() == f"{'' if cell is None else cell},x\n"


@pytest.mark.parametrize(
    "cell", ["=1", "+cmd", "-cmd", "-1+1", "--1", "@SUM(1)", "\t=1", "\r=1", " =1", "\uff1d1", "-"]
)
def test_cells_that_a_spreadsheet_would_compute(cell: str) -> None:
    written = io.StringIO()
    tables.write_csv([[cell, "x"]], written)
    assert written.getvalue() == f"'{visible(cell)},x\n"


def test_markdown(hostile: Hostile, command: Command) -> None:
    out = command("experiments.leaderboard", "--markdown", cwd=hostile.folder).out
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(out)
    assert page.count("<tr>") == 4, "one of titles, three of runs"
    assert not re.search("<(script|a|img|em|strong|code)\\b", page), page
    assert page.count("&lt;script&gt;") >= 3
    (cell,) = {cell for cell in re.findall("<td>(.*?)</td>", page) if "cmd" in cell and "activation" not in cell}
    assert cell.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"') == visible(NAME)


def assert_harmless_page(page: str) -> None:
    assert_harmless(page)
    assert not re.search(r"<script>alert|<b>x</b>|javascript:alert\(1\)['\"]", page)


def test_the_page_of_a_comparison(hostile: Hostile, command: Command) -> None:
    command("experiments.compare", *hostile.runs, "--html", "page.html", cwd=hostile.folder)
    page = (hostile.folder / "page.html").read_text()
    text = re.sub(r'<script type="module">.*?</script>', "", page, flags=re.DOTALL)  # plotly.js itself
    assert_harmless_page(text)
    assert "&lt;script&gt;alert(1)" in text
    assert "<" not in "".join(re.findall(r'<script type="application/json">(.*?)</script>', text, flags=re.DOTALL))


def test_class_labels_in_the_files_of_an_evaluation_and_a_promotion(tmp_path: Path) -> None:
    import numpy as np

    from experiments.attempts import Attempts
    from experiments.evaluation.report import write_report
    from experiments.views.page import ENGINE

    labels = (NAME, NAME, "-7")
    images = np.zeros((6, 28, 28, 1), np.uint8)
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 2, 0]]
    evaluation = evaluate(probabilities, np.array([0, 1, 2, 0, 1, 2]), labels)
    attempts = Attempts()
    write_report(evaluation, images, tmp_path, what="validation", attempts=attempts)
    assert not str(attempts)
    rows = list(csv.reader(io.StringIO((tmp_path / "confusion_matrix.csv").read_text())))
    assert [row[0] for row in rows] == rows[0] == ["true\\predicted", *(row[0] for row in rows[1:])]
    assert rows[1][0].startswith("'=cmd")
    assert rows[3][0] == "-7"
    for name in ("confusion_matrix.csv", "classification_report.txt"):
        assert_harmless((tmp_path / name).read_text())
    parts: Any = ENGINE.get_template("parts.html.j2").module
    for page in (
        parts.classes(evaluation),
        parts.mistakes(evaluation, images, labels, NAME),
        parts.confusion(labels, [[1] * 3] * 3),
        parts.table([NAME, "run"], [[NAME, NAME]], links=[None], name=NAME),
        parts.facts([(NAME, NAME)], NAME),
    ):
        assert "&lt;" in page
        assert_harmless_page(page)


def test_a_file_whose_record_is_hostile_is_drawn_with(tmp_path: Path) -> None:
    facts = FileFacts(tuple("0123456789"), NAME, "d" * 64, NAME, "a" * 32, NAME, "c" * 40, 0.0)
    file = convert(as_classifier(architectures.build("malireddi", (28, 28, 1), 10, filters=4)), facts)
    write(file, tmp_path / "hostile.mlmodel")
    told = _facts(open_reader(tmp_path / "hostile.mlmodel"), None, None)
    assert told["architecture"] == NAME  # JSON; the page sets it as text
    json.dumps(told)
    source = render("drawing", title="Draw a digit")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source)


def test_texts_of_rich_are_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(NAME))
    table.add_column(escape(NAME))
    table.add_row(escape(NAME))
    console().print(table, escape(NAME))
    tables.print_cells(["run", NAME], [[NAME, NAME]], title=NAME, caption=[NAME])
    out = capsys.readouterr().out
    assert_harmless(out)
    assert out.count("[bold]x[/bold]") >= 4, "its own brackets, not a style"


MALFORMED = {
    "filters": ({"filters": "abc"}, {}, "records filters='abc', which is not a whole number"),
    "fraction": ({"filters": "4.5"}, {}, "records filters='4.5', which is not a whole number"),
    "dropout": ({"dropout": "nan"}, {}, "records dropout='nan', which is not a number"),
    "rate": ({"learning_rate": "\x1b[31m"}, {}, "records learning_rate='\\x1b[31m', which is not a number"),
    "images": ({}, {"val_images": "abc"}, "holds what cannot be read"),
    "negative images": ({}, {"val_images": "-3"}, "holds what cannot be read"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("limit", [2, 0])
def test_a_run_that_cannot_be_read_is_left_out_and_named(
    name: str, limit: int, tmp_path: Path, command: Command
) -> None:
    store = Hostile(tmp_path)
    params, tags, complaint = MALFORMED[name]
    broken = store.add(0.99, params, tags)
    found = command("experiments.leaderboard", "--json", "--limit", limit)
    shown = [row["run_id"] for row in found.json["leaderboard"]]
    assert found.code == 0
    assert shown == store.runs[::-1][: limit or 3]
    assert found.err.count("warning: left out: ") == 1
    assert broken in found.err
    assert complaint in found.err
    compared = command("experiments.compare", broken, store.runs[0])
    assert compared.code == 0
    assert_harmless(found.err + compared.out + compared.err)


@pytest.mark.parametrize("metric", ["best_val_accuracy", "coreml_bytes", "val_accuracy"])
def test_figures_that_are_none(metric: str, tmp_path: Path, command: Command) -> None:
    store = Hostile(tmp_path)
    broken = store.add(0.5)
    for value in (float("inf"), float("nan")):
        store.client.log_metric(broken, metric, value, step=3)
        found = command("experiments.leaderboard", "--json")
        assert found.code == 0, found.err
        assert set(store.runs) <= {row["run_id"] for row in found.json["leaderboard"]}
        assert command("experiments.compare", broken, store.runs[0]).code == 0


def test_versions_that_cannot_be_read_are_named(tmp_path: Path, command: Command) -> None:
    store = Hostile(tmp_path)
    for number, (key, value) in enumerate({"best_val_accuracy": "abc", "expected_coreml_bytes": "x"}.items(), 1):
        store.client.set_model_version_tag(MODEL, str(number), key, value)
    found = command("experiments.leaderboard", "--model", MODEL, "--json")
    assert [row["version"] for row in found.json["leaderboard"]] == [3]
    assert found.err.count("warning: left out: version ") == 2
    store.client.set_model_version_tag(MODEL, "3", "test_accuracy", "abc")
    found = command("experiments.leaderboard", "--model", MODEL, "--json")
    assert found.json["leaderboard"] == []
    assert "holds what cannot be read" in found.err
