"""Every command of the documents does what it says, and every link leads somewhere.

The blocks of a document run in order in one folder, as a reader would type them in the root of a clone with `.venv`
activated. They start warm, but for README's first and those on Ray, which are among the slow tests. README starts with
an empty store, the others with a small sweep of mnist5k whose best model was promoted. RUN_ID stands for the run of the
first registered version, OTHER_RUN_ID for that of the second. Marks in a comment right above a block:

    <!-- not run: why -->     the block is not run; the reason is a sentence
    <!-- with: WORDS -->      WORDS are added to the block's only command: a smaller sweep, or a free port as {port}
    <!-- server: URL -->      the command serves: it is ended when the URL has answered
    <!-- exit: 3 -->          the command ends with this code; `0 or 3` where it depends on a tiny model's luck
    <!-- output -->           a `text` block whose lines the block before has printed; … stands for anything
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.support.documents import ROOT, Block, anchors, blocks, documents, links
from tests.support.servers import free_port, wait_until
from tests.support.stores import Promoted, copy_store
from tests.support.warm import Program

RUN = ("sh", "python")
SHOWN = ("text", "json", "yaml", "toml", "swift", "mermaid")  # to be read, not to be run
DOCTESTS = ("docs/api.md",)  # their `>>>` examples are run as one doctest, by a test of their own
MARKS = {"not run", "with", "server", "exit", "output"}
FROM_NOTHING = ("README.md",)
ON_RAY = ("docs/cluster.md",)
LONG = (
    "docs/architectures.md",
    "docs/commands.md",
    "docs/coreml-executor.md",
    "docs/data-sets.md",
    "docs/own-app.md",
    "docs/promotion.md",
    "docs/recipe.md",
    "docs/records.md",
    "docs/sweeps.md",
    "docs/troubleshooting.md",
)
LINKED = ("Makefile", "setup.cfg", "constraints.txt", "benchmarks", "examples", "tests")  # of a clone's root
VENV = Path(sys.executable).parent.parent


@pytest.mark.parametrize("document", documents())
def test_blocks_say_what_they_are(document: str) -> None:
    for block in blocks(document):
        assert block.language in RUN + SHOWN, f"{block}: ```{block.language} is none of {', '.join(RUN + SHOWN)}"
        unknown = block.marks.keys() - MARKS
        assert not unknown, f"{block}: unknown mark {unknown}; known are {', '.join(sorted(MARKS))}"
        if block.language in SHOWN:
            assert block.marks.keys() <= {"output"}, f"{block}: {block.language} is not run, it needs no mark"
        else:
            assert "output" not in block.marks, f"{block}: output is a ```text block"
        if "not run" in block.marks:
            assert len(block.marks["not run"].split()) >= 3, f"{block}: the reason is no sentence"
            assert block.marks.keys() == {"not run"}, f"{block}: it is not run, other marks mean nothing"
        if {"with", "server", "exit"} & block.marks.keys():
            assert len(_commands(block)) == 1, f"{block}: these marks are for one command"


def _with_commands() -> list[str]:
    """Documents with something to run."""
    runnable = (name for name in documents() if name not in DOCTESTS)
    return [n for n in runnable if any(b.language in RUN and "not run" not in b.marks for b in blocks(n))]


def _starts() -> Iterator[ParameterSet]:
    """Documents, and whether their commands start cold."""
    for name in _with_commands():
        cold = name in FROM_NOTHING + ON_RAY
        slow = cold or name in LONG
        yield pytest.param(name, cold, id=f"{name}-cold" if cold else name, marks=pytest.mark.slow if slow else ())


@pytest.mark.timeout(1500)  # a document is many commands, and the machine may be busy
@pytest.mark.parametrize(("document", "cold"), list(_starts()))
def test_commands_run(document: str, cold: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    place = tmp_path / "pocketnets"
    place.mkdir()
    if document not in FROM_NOTHING:
        promoted: Promoted = request.getfixturevalue("promoted")
        copy_store(promoted.folder, place)
        shutil.copytree(promoted.folder / "ios", place / "ios")
    _like_a_clone(place)
    printed = ""
    for block in blocks(document):
        if "output" in block.marks:
            _check_printed(block, printed)
        elif block.language in RUN:
            printed = "" if "not run" in block.marks else _run(block, place, cold=cold)
            cold = cold and document not in FROM_NOTHING


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document}: there is no {link}"
        assert target.resolve().is_relative_to(ROOT), f"{document}: {link} lies outside"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{document}: no heading for {link}"


def _like_a_clone(place: Path) -> None:
    """What commands find in a clone: `make` and its `.venv`, which is the one that the tests run in, not installed."""
    for name in LINKED:
        (place / name).symlink_to(ROOT / name)
    (place / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (VENV / name).exists():
            (place / ".venv" / name).symlink_to(VENV / name)
    for name in (".installed", ".installed-test"):
        (place / ".venv" / name).touch()


def _commands(block: Block) -> list[str]:
    joined = block.code.replace("\\\n", " ").splitlines()
    return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]


def _parts(code: str, place: Path) -> tuple[str, list[list[str]]]:
    """What a shell block begins with, and the `python -m MODULE WORDS`, or `make` of such, that it ends with."""
    if code.startswith("make "):
        code = _shell(f"{code} --dry-run", place).replace(".venv/bin/python", "python")
    lines = code.replace("\\\n", " ").splitlines()
    programs: list[list[str]] = []
    while lines and (words := _program(lines[-1])) is not None:
        programs.insert(0, words)
        lines.pop()
    return "\n".join(lines), list(filter(None, programs))


def _program(line: str) -> list[str] | None:
    """The words behind `python -m` of a line that is nothing else, none for a comment; None for another line."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()`$")
    lexer.whitespace_split = True
    words = list(lexer)
    plain = words[:2] == ["python", "-m"] and not any(set(word) & set("|&;<>()`$*?~") for word in words)
    return words[2:] if plain or not words else None


def _shell(code: str, place: Path) -> str:
    return subprocess.run(["bash", "-c", code], cwd=place, capture_output=True, text=True, check=True).stdout


def _run_warm(block: Block, programs: list[list[str]], place: Path) -> tuple[int, str]:
    """Run commands in warm processes, as the shell would run them; what they printed with the last exit code."""
    printed, code = "", 0
    for module, *words in programs:
        program = Program(module, *words, cwd=place, env=_environment(place))
        try:
            code = program.wait(400)
        except subprocess.TimeoutExpired as error:
            program.kill()
            pytest.fail(f"{block}: {module}: {error}")
        printed += "".join(program.communicate())
        if code:
            break
    return code, printed


def _run(block: Block, place: Path, *, cold: bool) -> str:
    """Run a block and return what it printed."""
    code, port = block.code, free_port()
    if "with" in block.marks:
        (command,) = _commands(block)
        bare, _, _ = command.partition("  # ")
        code = f"{bare} {block.marks['with'].replace('{port}', str(port))}"
    if re.search(r"\bRUN_ID|OTHER_RUN_ID", code):
        first, second = _runs(place)
        code = code.replace("OTHER_RUN_ID", second).replace("RUN_ID", first)
    python = block.language == "python"
    shell, programs = "", [["tests.support.code", code]]
    if not python:
        shell, programs = _parts(code, place) if "server" not in block.marks else (code, [])
    wanted = block.marks.get("exit", "0")
    if programs and not cold:
        printed = _run(replace(block, code=shell, marks={}), place, cold=True) if shell else ""
        returned, more = _run_warm(block, programs, place)
        printed += more
        assert str(returned) in wanted.split(" or "), (
            f"{block}: {code}\nended with {returned}, not {wanted}:\n{printed}"
        )
        return printed
    command = [sys.executable, "-c", code] if python else ["bash", "-euo", "pipefail", "-c", code]
    log = place.parent / "printed.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=place,
            env=_environment(place),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        try:
            if "server" in block.marks:
                address = block.marks["server"].replace("{port}", str(port))
                wait_until(lambda: _answers(address), process)
            else:
                process.wait(400)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            pytest.fail(f"{block}: {code}\n{error}\n{log.read_text()}")
        finally:
            _end(process)
    printed = log.read_text()
    assert "server" in block.marks or str(process.returncode) in wanted.split(" or "), (
        f"{block}: {code}\nended with {process.returncode}, not {wanted}:\n{printed}"
    )
    return printed


def _environment(place: Path) -> dict[str, str]:
    """That of a shell in which `.venv` is activated, with this checkout's code."""
    of_make = {"ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}  # which started these tests
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name not in of_make}
    path = f"{place / '.venv' / 'bin'}:{kept['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "XDG_CACHE_HOME": str(place.parent)}


def _answers(address: str) -> bool:
    with urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status == 200


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and what it started, if it is still there."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _runs(place: Path) -> tuple[str, str]:
    """The runs of the first two versions of the registered model in a folder."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{place / 'mlflow.db'}"
    versions = MlflowClient(uri, uri).search_model_versions("name = 'mnist5k-classifier'")
    first, second = sorted(versions, key=lambda version: int(version.version))[:2]
    return first.run_id, second.run_id


def _check_printed(block: Block, printed: str) -> None:
    found = "\n".join(" ".join(line.split()) for line in printed.splitlines())
    for line in block.code.splitlines():
        wanted = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        assert re.search(wanted, found), f"{block}: was not printed: {line}\n{printed}"
