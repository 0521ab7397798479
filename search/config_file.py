"""A sweep's options in a TOML file, which the command line overrides; also written out for the record.

A key is an option's name without its dashes, and the value is what follows it on the command line. A list is for values
separated by commas or a colon, or for an option that is repeated:

    architecture = ["pocket", "resnet"]
    filters = [8, 16]
    dropout = [0.1, 0.4]
    figures = false
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from architectures.command import Parser, finite
from architectures.fields import is_range
from architectures.redaction import redact
from search.config import SweepConfig

OPTION_NAMES = {  # where a field has another name
    "architectures": "architecture",
    "batch_sizes": "batch-size",
    "knobs": "knob",
    "objectives": "objective",
    "plugins": "plugin",
}
DERIVED = ("learning_rate_factor", "given")  # fields that no option gives
REPEATED = ("knobs", "plugins")  # whose values may hold commas
COMMAND_LINE_ONLY = ("config", "dump_config", "help", "json", "debug")


class ConfigParser(Parser):
    """A parser with `--config FILE`, whose options come before those of the command line, and `--dump-config`."""

    _file: Path | None = None

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="TOML file with these options; the command line takes precedence",
        )
        self.add_argument("--dump-config", action="store_true", help="print all options as such a file and exit")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        typed = sys.argv[1:] if args is None else list(args)
        given = super().parse_args(typed, namespace)
        if given.config is None:
            return given
        self._file = given.config
        return super().parse_args([*self._arguments(given), *typed], namespace)

    def error(self, message: str) -> NoReturn:
        super().error(f"{self._file}: {message}" if self._file else message)

    def _arguments(self, given: argparse.Namespace) -> list[str]:
        """Return the file's options as arguments, except those that were given on the command line."""
        assert self._file
        try:
            found = tomllib.loads(self._file.read_text(encoding="utf-8"))
        except OSError as error:
            self.error(str(error.strerror))
        except (ValueError, RecursionError) as error:  # of TOML and of UTF-8
            self.error(f"it is not TOML: {error}")
        options = {name: action.dest for action in self._actions for name in action.option_strings}
        arguments: list[str] = []
        for key, value in found.items():
            flag = f"--{key.replace('_', '-')}"
            if options.get(flag, "help") in COMMAND_LINE_ONLY:
                self.error(f"{key!r} is not an option a config file can set")
            dest = options[flag]
            each = value if dest in REPEATED and isinstance(value, list) else [value]
            texts = [self._text(key, dest, one) for one in each]
            if getattr(given, dest) is None:
                arguments += [f"{flag}={text}" for text in texts]
        return arguments

    def _text(self, key: str, dest: str, value: object) -> str:
        """Return a value as written on the command line."""
        if isinstance(value, bool):
            return "on" if value else "off"
        if dest == "enqueue" and isinstance(value, list):
            return json.dumps(value, default=str)
        if isinstance(value, list):
            return (":" if is_range(SweepConfig, dest) else ",").join(self._text(key, "", one) for one in value)
        if not isinstance(value, str | int | float):
            self.error(f"{key} is {value!r}: a text, a number, true or false, or a list of them is allowed")
        return str(value)


def as_typed(config: SweepConfig, names: Collection[str]) -> dict[str, str]:
    """Return options of a sweep as a person types them, by field, without empty ones.

    >>> config = SweepConfig("sqlite:///mlflow.db", "night", filters=(8, 16), knobs=(("kernel", (3, 5)),))
    >>> as_typed(config, ("filters", "dropout", "knobs", "experiment"))
    {'filters': '8,16', 'dropout': '0.0:0.5', 'knobs': 'kernel=3,5'}
    """
    found = {name: getattr(config, name) for name in names}
    return {name: _typed(name, value) for name, value in found.items() if value not in (None, "", ())}


def _typed(field: str, value: object) -> str:
    if field == "knobs":
        value = tuple(f"{name}={','.join(map(str, choices))}" for name, choices in value)  # type: ignore[attr-defined]
    if not isinstance(value, tuple):
        return str(value)
    joint = ":" if is_range(SweepConfig, field) else " " if field in REPEATED else ","
    return joint.join(map(str, value))


def as_toml(config: SweepConfig, *, but: Sequence[str] = ()) -> str:
    """Return all options of a sweep as a file that asks for the same sweep.

    Defaults are commented out, because explicit values disable automatic choices, such as smaller batch sizes for few
    images. Values with a secret are commented out, too, and written without it.

    Args:
        but: fields that are left out.

    >>> as_toml(SweepConfig("sqlite:///mlflow.db", "night", seed=3)).splitlines()[:2]
    ['tracking-uri = "sqlite:///mlflow.db"', 'study = "night"']
    """
    lines = []
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in (*but, *DERIVED) or value in (None, "", ()):
            continue
        if field.name == "knobs":
            value = [f"{name}={','.join(map(str, choices))}" for name, choices in value]
        text = _toml(value)
        secret = isinstance(value, str) and "://" in value and redact(value) != value
        comment = "# " if secret or value == field.default else ""
        lines.append(f"{comment}{OPTION_NAMES.get(field.name, field.name.replace('_', '-'))} = {text}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(finite(value), ensure_ascii=False)  # without secrets
