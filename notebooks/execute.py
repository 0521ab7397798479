"""Execute the notebooks with new kernels, each in an empty folder.  Run: python notebooks/execute.py [--write]

--write saves the outputs to the files, without irrelevant differences between runs, and the processor time to the
opening. Exit code 1 if a notebook fails or breaks a rule of `complaints`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import math
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  # its first import creates a cache, and would print that in a notebook
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image
from traitlets.config import Config

from architectures.quiet import ENVIRONMENT_DEFAULTS

FOLDER = Path(__file__).parent
CELL_SECONDS = 900
MOST_BYTES = 400_000  # of a notebook with its outputs
COLOURS = 256  # of a picture, which reduces it to a third of its size
NOBODY = "notebook-reader"  # the user's name while notebooks are executed, so that outputs with it can be found

# not </td>, https://, 1/255
PATH = re.compile(r"(?<![\w<:/.)\]}-])/\w[\w.-]*|:/(?!/)\w|:////\w|\b[A-Za-z]:\\\w|file:/")
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # escape sequences for colours
ADDRESS = re.compile(r"\bat 0x[0-9a-f]+")  # in the default repr of an object
DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b|\b\d\d:\d\d:\d\d\b")

TAKES = "Executed from the first cell to the last, it takes about {} seconds of processor time."
TAKEN = re.compile(re.escape(TAKES).replace(r"\{\}", r"(\d+)"))
OPENING, END = "**What you will learn**", "## What to try next"
# measurements in a text that no cell has printed: a decimal, a share, thousands, or a count of these
NUMBER = "two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|fifty|hundred|thousand"
UNIT = "per ?cent|percent|points?|seconds?|s|ms|minutes?|hours?|bytes?|[KM]B|times|pixels?|errors?|trials?|epochs?"
FIGURE = re.compile(rf"\b(?:\d+\.\d+|\d+ ?%(?! interval)|\d{{1,3}}(?:,\d{{3}})+|(?:\d+|{NUMBER}) (?:{UNIT})\b)", re.I)
NO_PROSE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)", re.DOTALL)  # code, formulas, addresses


def paths() -> list[Path]:
    """Return the notebooks in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path, folder: Path) -> NotebookNode:
    """Execute a notebook with a new kernel in a folder, which should be empty.

    The kernel does not inherit the settings of this process's own libraries.

    Raises:
        CellExecutionError: with the cell and its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    ours = {*ENVIRONMENT_DEFAULTS, "MLFLOW_TRACKING_URI", "MPLBACKEND"}
    with tempfile.TemporaryDirectory(prefix="pocketnets-") as profile:
        environment = {key: value for key, value in os.environ.items() if key not in ours}
        environment |= {"LOGNAME": NOBODY, "USER": NOBODY, "IPYTHONDIR": profile}
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=CELL_SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
            startup_timeout=CELL_SECONDS,
            # a socket in our own folder, not a port that other users of the machine could reach
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{profile}/kernel"}}),
        )
        client.execute(env=environment)
    return tidy(notebook)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Remove what an editor or a kernel adds to a notebook, and add the digest of the executed code."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
        executed_sha256=digest(notebook),
    )
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _smaller(output.data["image/png"])
    return notebook


def _smaller(png: str) -> str:
    """Reduce a picture in base64 to a palette of COLOURS; leave one with a palette unchanged."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    file = io.BytesIO()
    picture.convert("RGB").quantize(COLOURS).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def processor_seconds() -> float:
    """Return the processor time of all ended child processes and their descendants."""
    times = os.times()
    return times.children_user + times.children_system


def stamped(notebook: NotebookNode, seconds: float) -> NotebookNode:
    """Write the processor time into a notebook's opening, rounded up to ten seconds.

    The elapsed time would depend on how busy the machine was.
    """
    opening = notebook.cells[0]
    opening.source = TAKEN.sub(TAKES.format(math.ceil(seconds / 10) * 10), opening.source)
    return notebook


def digest(notebook: NotebookNode) -> str:
    """Return the SHA-256 of all code, in order."""
    return hashlib.sha256("\0".join(cell.source for cell in _code(notebook)).encode()).hexdigest()


def complaints(notebook: NotebookNode) -> list[str]:
    """Return the faults of an executed notebook; none if it may be committed."""
    found = []
    code = _code(notebook)
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not executed once each in their order")
    if notebook.metadata.get("executed_sha256") != digest(notebook):
        found.append("its code is not what was executed: run python notebooks/execute.py --write")
    if not any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs):
        found.append("it shows no picture")
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(f"cell {number} wrote: {output.get('text') or output.get('evalue')}")
        shown = any("image/png" in output.get("data", {}) for output in cell.outputs)
        if re.search(r"^figure, |^Image\(", cell.source, re.MULTILINE) and not shown:
            found.append(f"cell {number} draws and shows nothing")
        for text in _texts(cell):
            found += [f"cell {number} shows {trace!r}" for trace in _traces(text)]
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    opening, end = (prose[0], prose[-1]) if prose else ("", "")
    if OPENING not in opening or not TAKEN.search(opening):
        found.append(f"it does not open with {OPENING!r} and {TAKES!r}")
    if not end.startswith(END):
        found.append(f"it does not end with {END!r}")
    for text in prose:
        for figure in FIGURE.finditer(NO_PROSE.sub("", TAKEN.sub("", text))):
            found.append(f"a text says {figure.group()!r}, which no cell has computed: display(Markdown(f'...'))")
    return found


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _texts(cell: NotebookNode) -> Iterator[str]:
    """Yield all texts in a cell's outputs."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield from (str(content) for kind, content in output.get("data", {}).items() if not kind.startswith("image/"))


def _traces(text: str) -> Iterator[str]:
    """Yield traces of where and when a text was made: paths, addresses, dates, names.

    The machine's name is only searched for if it is not a plain word.
    """
    text = COLOUR.sub("", text)
    for pattern in (PATH, ADDRESS, DATE):
        yield from (match.group() for match in pattern.finditer(text))
    host = platform.node()
    for name in (NOBODY, *([host] if re.search(r"[\d.-]", host) else [])):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            yield name


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks from clean, each in an empty folder.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these: 01-keras-mnist.ipynb (default: all)")
    parser.add_argument("--write", action="store_true", help="put the outputs into the files")
    arguments = parser.parse_args(argv)
    known = {path.name: path for path in paths()}
    if unknown := [name for name in arguments.names if Path(name).name not in known]:
        parser.error(f"no such notebook: {', '.join(unknown)}. There are {', '.join(known)}.")
    failed = False
    for path in [known[Path(name).name] for name in arguments.names] or known.values():
        started, before = time.perf_counter(), processor_seconds()
        with tempfile.TemporaryDirectory(prefix="pocketnets-") as folder:
            try:
                notebook = execute(path, Path(folder))
            except CellExecutionError as error:
                print(f"error: {path.name}: {error}", file=sys.stderr)
                failed = True
                continue
        wall, seconds = time.perf_counter() - started, processor_seconds() - before
        content = nbformat.writes(stamped(notebook, seconds)) + "\n"
        wrong = complaints(notebook)
        if len(content.encode()) > MOST_BYTES:
            wrong.append(f"it has {len(content.encode()):,} bytes, at most {MOST_BYTES:,} are kept small")
        print(f"{path.name}: {wall:.0f} s, {seconds:.0f} s of processor time, {len(content.encode()):,} bytes")
        for complaint in wrong:
            print(f"error: {path.name}: {complaint}", file=sys.stderr)
        failed = failed or bool(wrong)
        if arguments.write and not wrong:
            path.write_text(content, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
