"""The notebooks: each executes from clean, without a word on stderr, and shows what is committed."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import platform
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).parents[1]
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try, ast.If)
STORIES = ["01-keras-mnist", "02-sweep", "03-promote", "04-why-7-and-4", "05-photographs"]
QUICKEST = "04-why-7-and-4"  # in `make test`
MOST_SECONDS = 700  # of processor time, all together: less than eight minutes of two cores, as training keeps both busy


def loaded(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"notebooks_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


execute = loaded(ROOT / "notebooks/execute.py")


def shown(notebook: NotebookNode) -> list[set[tuple[str, ...]]]:
    """The kinds of outputs of each cell; how many lines a sweep prints is its own affair."""
    return [
        {(output.output_type, *sorted(output.get("data", ()))) for output in cell.get("outputs", ())}
        for cell in notebook.cells
    ]


def held() -> dict[Path, bytes]:
    """What a notebook must not touch: the app's model, and the notebooks themselves."""
    return {
        path: path.read_bytes()
        for place in ("ios/Digits/Model", "notebooks")
        for path in (ROOT / place).rglob("*.*")
        if path.is_file()
    }


def test_the_stories_are_there() -> None:
    assert [path.stem for path in execute.paths()] == STORIES


@pytest.mark.timeout(1800)  # of a busy machine
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == QUICKEST else pytest.mark.slow) for name in STORIES]
)
def test_executes_from_clean(name: str, tmp_path: Path) -> None:
    path = ROOT / f"notebooks/{name}.ipynb"
    before = held()
    executed = execute.execute(path, tmp_path)
    assert execute.complaints(executed) == []
    assert shown(executed) == shown(nbformat.read(path, as_version=4))
    assert held() == before


@pytest.mark.parametrize("name", STORIES)
def test_committed_outputs(name: str) -> None:
    path = ROOT / f"notebooks/{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert execute.complaints(notebook) == []
    assert path.stat().st_size <= execute.MOST_BYTES
    assert path.read_text(encoding="utf-8") == nbformat.writes(execute.tidy(notebook)) + "\n"


@pytest.mark.parametrize("name", STORIES)
def test_no_logic_lives_in_them(name: str) -> None:
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)]
            assert not found, cell.source
            assert len(cell.source.splitlines()) <= 25, cell.source


def test_all_together_take_no_longer_than_they_may() -> None:
    seconds = [
        int(execute.TAKEN.search(nbformat.read(path, as_version=4).cells[0].source)[1]) for path in execute.paths()
    ]
    assert sum(seconds) <= MOST_SECONDS


def png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def example() -> NotebookNode:
    """A notebook as it may be committed."""
    drawn = png(Image.new("RGBA", (2, 2), "white"))
    picture = nbformat.v4.new_output("display_data", {"image/png": drawn, "text/plain": "<Figure>"})
    words = nbformat.v4.new_output("stream", name="stdout", text="0.97 of 1/255, see https://example.org/a </td>\n")
    cells = [
        nbformat.v4.new_markdown_cell(f"# Why\n\n{execute.OPENING}\n\n{execute.TAKES.format(80)}"),
        nbformat.v4.new_code_cell("figure, axes = plt.subplots()", execution_count=1, outputs=[picture]),
        nbformat.v4.new_code_cell("print(x)", execution_count=2, outputs=[words]),
        nbformat.v4.new_markdown_cell(execute.END),
    ]
    return execute.tidy(nbformat.v4.new_notebook(cells=cells))


def test_a_good_one_passes() -> None:
    assert execute.complaints(example()) == []


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        ("saved to /home/jane/model.keras", "/home"),
        ("file:///tmp/x", "file:/"),
        ("in C:\\Users", "C:\\U"),
        ("in sqlite:////home/jane/mlflow.db", ":////h"),
        ("saved:/home/jane", ":/h"),
        ("\x1b[1m/home/jane", "/home"),
        ("on node-7.", "node-7"),
        (f"by {execute.NOBODY}", execute.NOBODY),
        ("started 2026-11-24", "2026-11-24"),
        ("at 12:30:59", "12:30:59"),
        ("<Text at 0x7f33eb035610>", "at 0x7f33eb035610"),
    ],
)
def test_traces_of_a_machine_are_found(text: str, trace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "node-7")
    notebook = example()
    notebook.cells[2].outputs[0].text = text
    assert execute.complaints(notebook) == [f"cell 2 shows {trace!r}"]
    notebook = example()
    notebook.cells[1].outputs[0].data["text/html"] = f"<pre>{text}</pre>"
    assert execute.complaints(notebook) == [f"cell 1 shows {trace!r}"]


def test_what_else_is_wrong_is_found() -> None:
    changed = example()
    changed.cells[2].source = "print(y)"
    assert "is not what was executed" in execute.complaints(changed)[0]
    swapped = example()
    swapped.cells[2].execution_count = 7
    assert "once each in their order" in execute.complaints(swapped)[0]
    warned = example()
    warned.cells[2].outputs[0].name = "stderr"
    assert execute.complaints(warned)[0].startswith("cell 2 wrote: 0.97")
    blind = example()
    blind.cells[1].outputs = []
    assert execute.complaints(blind) == ["it shows no picture", "cell 1 draws and shows nothing"]
    abrupt = example()
    del abrupt.cells[3], abrupt.cells[0]
    opening, end = execute.complaints(abrupt)
    assert opening.startswith("it does not open with '**What you will learn**' and 'Executed from")
    assert end == "it does not end with '## What to try next'"


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("It reads 0.97 of them.", "0.97"),
        ("It reads 97 % of them.", "97 %"),
        ("It reads 97% of them.", "97%"),
        ("The file has 21,207 of them.", "21,207"),
        ("The file has 980 bytes.", "980 bytes"),
        ("That takes a minute or two minutes.", "two minutes"),
        ("It stands three pixels too high.", "three pixels"),
        ("Twelve times as many.", "Twelve times"),
    ],
)
def test_figures_that_no_cell_has_computed_are_found(text: str, figure: str) -> None:
    notebook = example()
    notebook.cells.insert(2, nbformat.v4.new_markdown_cell(text))
    assert execute.complaints(notebook) == [
        f"a text says {figure!r}, which no cell has computed: display(Markdown(f'...'))"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Ten digits of 28x28 pixels, in two networks, with notebook 01 from 2018.",
        "`max_bytes=1_000`, `0.5`, $x = 0.5$ and [a page](https://example.org/0.5) are given, not measured.",
        "```\n21,207 bytes\n```",
        "Its 95 % interval.",
    ],
)
def test_numbers_that_were_not_measured_are_left_alone(text: str) -> None:
    notebook = example()
    notebook.cells.insert(2, nbformat.v4.new_markdown_cell(text))
    assert execute.complaints(notebook) == []


def test_the_time_is_written_into_the_opening() -> None:
    notebook = execute.stamped(example(), 61.2)
    assert execute.TAKES.format(70) in notebook.cells[0].source


def test_pictures_are_kept_small_and_once() -> None:
    photograph = Image.effect_noise((60, 60), 90).convert("RGB")
    notebook = example()
    notebook.cells[1].outputs[0].data["image/png"] = png(photograph)
    kept = execute.tidy(notebook).cells[1].outputs[0].data["image/png"]
    assert len(kept) < len(png(photograph))
    assert Image.open(io.BytesIO(base64.b64decode(kept))).mode == "P"
    assert execute.tidy(notebook).cells[1].outputs[0].data["image/png"] == kept


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(execute, "FOLDER", tmp_path)
    draws = "import matplotlib.pyplot as plt\n\nfigure, axes = plt.subplots()"
    for name, last in {
        "good": "import os\n\nlen(os.listdir())",
        "bad": "import sys\n\nsys.stderr.write('oh')\n1 / 0",
    }.items():
        opening, end = (example().cells[place] for place in (0, -1))
        cells = [opening, nbformat.v4.new_code_cell(draws), nbformat.v4.new_code_cell(last), end]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    assert execute.main(["good.ipynb", "--write"]) == 0
    good = nbformat.read(tmp_path / "good.ipynb", as_version=4)
    assert execute.complaints(good) == []
    assert good.cells[2].outputs[0].data["text/plain"] == "0"  # the folder was empty
    before = (tmp_path / "bad.ipynb").read_bytes()
    assert execute.main(["bad.ipynb", "--write"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert (tmp_path / "bad.ipynb").read_bytes() == before
    with pytest.raises(SystemExit) as stopped:
        execute.main(["none.ipynb"])
    assert stopped.value.code == 2
    assert "no such notebook: none.ipynb. There are bad.ipynb, good.ipynb." in capsys.readouterr().err
    assert str(tmp_path) not in sys.path
