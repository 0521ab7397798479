"""Common behaviour of all entry points: one-line errors, exit codes, `--json` and `--debug`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused or not checkable, 130 interrupted,
141 the reader of the output has left.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import math
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from architectures.display import say, visible
from architectures.errors import ProjectError
from architectures.fields import allowed
from architectures.interrupts import interrupts_noticed
from architectures.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 250  # columns of tables in files and pipes
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
READER_LEFT = 141  # 128 + SIGPIPE, which ends other programs when the reader of their output exits
# Allocations between garbage collections. Python 3.11's 700 cost a quarter of the time that reading 2,000 runs takes.
COLLECT_AFTER = 50_000
CONSOLE = "pocketnets"  # the command that calls all others


class Parser(argparse.ArgumentParser):
    """An argument parser with the project's common options, whose errors are one line."""

    def __init__(self, module: str, description: str, *, common: bool = True) -> None:
        super().__init__(prog=_called(module), description=description, allow_abbrev=False)
        self.set_defaults(debug=False)
        if not common:
            return
        self.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add_field(self, config: type, field: str, *, metavar: str, help: str, flag: str = "") -> None:
        """Add the option that sets a field of a dataclass, with its type and, unless `flag` is given, its name."""
        name = flag or f"--{field.replace('_', '-')}"
        self.add_argument(name, dest=field, type=allowed(config, field), metavar=metavar, help=help)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {visible(redact(message))} (see {self.prog} --help)\n")


def _called(module: str) -> str:
    """Return how the command was called: `pocketnets sweep` or `python -m search.sweep`."""
    if os.path.basename(sys.argv[0]) != CONSOLE:
        return f"python -m {module}"
    return CONSOLE if module == CONSOLE else f"{CONSOLE} {module.rpartition('.')[2]}"


def run(parser: Parser, body: Callable[[argparse.Namespace], int], argv: Sequence[str] | None = None) -> int:
    """Parse `argv`, call `body`, and turn what it raises into one line on stderr and an exit code."""
    code = 0
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    try:
        try:
            code = _code(parser, body, argv)
        finally:  # also after --help, and after an error during printing
            sys.stdout.flush()
    except OSError:  # of stdout only
        code = code or (READER_LEFT if _reader_has_left() else 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # discards what is still buffered
    return code


def _code(parser: Parser, body: Callable[[argparse.Namespace], int], argv: Sequence[str] | None) -> int:
    arguments = parser.parse_args(argv)
    try:
        with interrupts_noticed():
            code = body(arguments)
        sys.stdout.flush()  # here, so that a full disk is reported in one line
        return code
    except KeyboardInterrupt:
        say("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            raise
        if arguments.debug:
            for line in traceback_text(error).splitlines():
                say(line, file=sys.stderr)
        say(f"error: {one_line(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, ProjectError) else 1


def _reader_has_left() -> bool:
    """Return whether the broken pipe is stdout, as after `| head`, and not a worker's pipe."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except ValueError:  # a caller's own stdout, without a descriptor
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def one_line(error: BaseException) -> str:
    """Return an error's message as one line without secrets, with the exception's type unless it is one of ours."""
    return redact(_message(error))


def _message(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ProjectError):
        return text
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename  # the target of a copy
        if error.errno == errno.ENOSPC:
            return f"No space left on the disk{f' for {file}' if file else ''}. Free some and try again."
        return f"{error.strerror}{f': {file}' if file else ''}"
    return f"{type(error).__name__}: {text} (--debug shows where)"


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error, without secrets."""
    return redact("".join(traceback.format_exception(error)))


def console() -> Console:
    """Return a Rich console that prints control characters escaped and emoji codes as they are."""
    from rich.console import Console
    from rich.text import Text

    class Screen(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(visible(text), **how)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # as print does; Rich would end the process with 1

    made = Screen(highlight=False, emoji=False)
    return made if made.is_terminal else Screen(highlight=False, emoji=False, width=PIPE_WIDTH)


def print_json(result: dict[str, object]) -> None:
    """Write one JSON object and nothing else to stdout, converted by `finite`."""
    print(json.dumps(finite(result), allow_nan=False))


def finite(value: object) -> object:
    """Return the value without secrets, and with null for non-finite numbers, which JSON cannot represent."""
    if isinstance(value, str):  # a single word is a name, even if it equals a password
        return redact(value, words=" " in value or "://" in value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def several(text: str) -> tuple[str, ...]:
    """Parse names separated by commas; an argparse type, with action="extend".

    >>> several("malireddi, pocket")
    ('malireddi', 'pocket')
    """
    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name: write NAME or NAME,NAME")
    return found
