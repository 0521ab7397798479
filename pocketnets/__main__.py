"""One command for all: `pocketnets sweep` is `python -m search.sweep`.  Run: pocketnets COMMAND [OPTION ...]

Nothing else imports a command; this one imports only the requested command, and none for `--help`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

from architectures.command import Parser, run

COMMANDS = {  # module and help, in the order of a typical workflow
    "architectures": ("architectures.__main__", "list registered networks, show one's layers, start a new one"),
    "inspect": ("experiments.inspect", "what a data set contains, what was not read, copies and leaks"),
    "sweep": ("search.sweep", "search hyperparameters; every trial is an MLflow run"),
    "trial": ("search.trial", "train one configuration as one tracked run"),
    "doctor": ("search.doctor", "find and repair disagreements between studies and MLflow"),
    "leaderboard": ("experiments.leaderboard", "the best runs of an experiment, or a model's versions"),
    "compare": ("experiments.compare", "parameters, results and curves of runs side by side"),
    "reproduce": ("experiments.reproduce", "train a run again from its record and compare"),
    "prune": ("experiments.prune", "remove model files that nothing needs; runs stay"),
    "promote": ("conversion.promote", "turn the best model into a checked Core ML file"),
    "rollback": ("conversion.rollback", "return to the previous promotion"),
    "verify": ("conversion.verify", "run a Core ML file and compare it with a run's model"),
    "describe": ("conversion.describe", "what a Core ML file contains: interface, metadata, bytes"),
    "predict": ("conversion.predict", "labels and accuracy of a Core ML classifier on pictures"),
    "draw": ("conversion.draw.__main__", "a page to draw a digit on, for the file to read"),
    "swift": ("conversion.swift", "the Swift code that your app needs for a file"),
    "runtime": ("conversion.runtime.__main__", "run a Core ML file of any kind"),
    "device": ("experiments.device", "add what the app measured on a phone to its run"),
}
WIDEST = max(map(len, COMMANDS))


def _command(text: str) -> str:
    """Check that a text is one of COMMANDS; an argparse type."""
    if text not in COMMANDS:
        near = get_close_matches(text, COMMANDS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it must be one of {', '.join(COMMANDS)}"
        raise argparse.ArgumentTypeError(f"unknown {text!r}: {hint}")
    return text


def parser() -> Parser:
    made = Parser("pocketnets", "Small neural networks from an idea to a phone, with evidence.", common=False)
    lines = [f"  {name:<{WIDEST}}  {what}" for name, (_, what) in COMMANDS.items()]
    made.usage = f"{made.prog} COMMAND [OPTION ...]"
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.epilog = "\n".join(["commands, each with its own --help:", *lines])
    made.add_argument("command", type=_command, choices=COMMANDS, metavar="COMMAND", help="one of those below")
    made.add_argument("given", nargs=argparse.REMAINDER, help=argparse.SUPPRESS).required = False
    return made


def _module(name: str) -> ModuleType:
    return import_module(COMMANDS[name][0])


def _body(arguments: argparse.Namespace) -> int:
    return _module(arguments.command).main(arguments.given)


def _complete() -> None:
    """Print completions for what the user has typed so far, as requested by a shell, and exit."""
    import argcomplete

    typed = f"{os.environ['COMP_LINE']}|".split()  # the last word is incomplete
    if len(typed) > 2 and typed[1] in COMMANDS:
        os.environ["_ARGCOMPLETE"] = "2"  # the command's own words begin at the second one
        argcomplete.autocomplete(_module(typed[1]).parser())
    else:
        argcomplete.autocomplete(parser())


def main(argv: Sequence[str] | None = None) -> int:
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
