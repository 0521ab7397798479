"""`pocketnets COMMAND`: every command under one name, as `python -m` has it, and what a shell completes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from architectures.command import CONSOLE
from pocketnets.__main__ import COMMANDS
from tests.support.commands import environment, invoke
from tests.test_structure import ENTRY_POINTS


def test_it_knows_every_command_by_the_last_word_of_its_module() -> None:
    modules = {name: module.removesuffix(".__main__") for name, (module, _) in COMMANDS.items()}
    assert sorted(modules.values()) == sorted(set(ENTRY_POINTS) - {CONSOLE})
    assert all(module.rpartition(".")[2] == name for name, module in modules.items())


def test_help_lists_them_in_80_columns(tmp_path: Path) -> None:
    shown = invoke(CONSOLE, "--help", cwd=tmp_path, COLUMNS="80")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    assert [line.split()[0] for line in shown.out.splitlines()[-len(COMMANDS) :]] == list(COMMANDS)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["swep"], "unknown 'swep': did you mean sweep?"),
        (["prmote", "--json"], "unknown 'prmote': did you mean promote?"),
        (["xyz"], "unknown 'xyz': it must be one of architectures, "),
        ([], "required: COMMAND ("),
    ],
)
def test_an_unknown_command_is_one_line(tmp_path: Path, typed: list[str], told: str) -> None:
    refused = invoke(CONSOLE, *typed, cwd=tmp_path)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert told in refused.err


@pytest.mark.parametrize(
    ("name", "given"),
    [("describe", ["none.mlmodel", "--json"]), ("leaderboard", ["--limit", "-1"]), ("architectures", ["a", "b"])],
)
def test_outputs_and_exit_codes_pass_through(tmp_path: Path, name: str, given: list[str]) -> None:
    by_module = invoke(COMMANDS[name][0].removesuffix(".__main__"), *given, cwd=tmp_path)
    assert by_module.code
    assert invoke(CONSOLE, name, *given, cwd=tmp_path) == by_module


def started(program: str, *words: str, **changes: str) -> str:
    """What the installed script prints."""
    script = "import sys; from pocketnets.__main__ import main; sys.argv[0] = sys.argv.pop(1); sys.exit(main())"
    command = [sys.executable, "-c", script, program, *words]
    return subprocess.run(command, env=environment(**changes), capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("program", "usage"), [("/bin/pocketnets", "pocketnets swift [-h]"), ("-m", "python -m conversion.swift [-h]")]
)
def test_usage_names_what_was_typed(program: str, usage: str) -> None:
    assert started(program, "swift", "--help").startswith(f"usage: {usage}")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pocketnets swe", {"sweep "}),
        ("pocketnets promote --prefer ", {"best", "smallest"}),
        ("pocketnets sweep --take", {"--takeover-after "}),
    ],
)
def test_a_shell_completes(tmp_path: Path, typed: str, offered: set[str]) -> None:
    started(
        "/bin/pocketnets",
        _ARGCOMPLETE="1",
        _ARGCOMPLETE_IFS="|",
        _ARGCOMPLETE_STDOUT_FILENAME=str(tmp_path / "offered"),
        COMP_LINE=typed,
        COMP_POINT=str(len(typed)),
    )
    assert set((tmp_path / "offered").read_text().split("|")) == offered
