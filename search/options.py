"""Options that sweeps and single trials share, the types of a sweep's own, and the command that continues it."""

from __future__ import annotations

import argparse
import json
import shlex
from functools import partial
from pathlib import Path

from architectures.command import Parser
from architectures.fields import PluginName
from architectures.knobs import Knob, knob_from_text
from architectures.redaction import MARK, redact
from experiments.config import CROSS_ENTROPY
from experiments.recipe import CHOICES, OFF_VALUES, RECIPE_OPTIONS, Recipe, RecipeRanges
from search.config import RAY_OPTIONS

SCHEDULE_HELP = (
    "of the learning rate: cosine (the default) falls to 0 over --epochs; constant does not fall, and ends a run "
    "after 5 epochs without improvement"
)


def add_common(made: Parser) -> None:
    """Add the options for the MLflow store and plugins."""
    made.add_argument("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    made.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        type=PluginName(),
        metavar="MODULE",
        help="module or .py file that registers architectures, data sets, optimizers or losses; repeatable",
    )


def add_views(made: Parser, config: type) -> None:
    """Add the option for the number of augmented views of an image for a frozen backbone."""
    made.add_field(
        config,
        "views",
        metavar="K",
        help="with --augment and --knob train=head: cache the features of K augmented views of each image",
    )


def add_recipe(made: Parser, config: type[Recipe]) -> None:
    """Add options for the optimizer, the loss and each hyperparameter of the recipe, for one trial."""
    _add_registered(made, config)
    for name, asked in RECIPE_OPTIONS.items():
        usual = f": the {asked.taken_by}'s own" if asked.taken_by else f" {OFF_VALUES[name] or 0}"
        usual = f" {asked.usual:g} with --teacher" if asked.usual else usual
        metavar = "|".join(CHOICES[name]) if name in CHOICES else "X"
        made.add_field(config, name, metavar=metavar, help=f"{asked.help} (default{usual})")


def add_recipe_ranges(made: Parser, config: type[RecipeRanges]) -> None:
    """As `add_recipe`, for a sweep: each trial draws its value from a range; a single value is the same for all."""
    _add_registered(made, config)
    for name, asked in RECIPE_OPTIONS.items():
        usual = f"the {asked.taken_by}'s own" if asked.taken_by else OFF_VALUES[name] or "none"
        usual = f"{asked.usual:g} with --teacher" if asked.usual else usual
        metavar = ",".join(CHOICES[name]) if name in CHOICES else "LOW:HIGH"
        several = "several values are" if name in CHOICES else "a range is"
        made.add_field(config, name, metavar=metavar, help=f"{asked.help} (default: {usual}); {several} searched")


def _add_registered(made: Parser, config: type) -> None:
    field = partial(made.add_field, config)
    field(
        "optimizer",
        metavar="NAME",
        help="adam (the default), adamw, sgd or one of a plugin; options that it does not support are refused",
    )
    field("loss", metavar="NAME", help=f"{CROSS_ENTROPY} (the default), focal or one of a plugin")
    field(
        "teacher",
        metavar="RUN",
        help="also learn from the answers of this run's kept model: its id, a prefix of it, or its name; it must have "
        "been trained on the same data",
    )


def knob_choices(text: str) -> tuple[str, tuple[Knob, ...]]:
    """An argparse type: a knob and its values."""
    name, equals, values = text.partition("=")
    if not equals or not all(values.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE or NAME=VALUE,VALUE")
    return name, tuple(dict.fromkeys(map(knob_from_text, values.split(","))))


def configurations(text: str) -> tuple[dict[str, object], ...]:
    """An argparse type: a JSON list of objects, or a file with one."""
    try:
        found = json.loads(text if text.startswith("[") else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text} is not JSON: {error}") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise argparse.ArgumentTypeError(f'{text} is not a list of configurations: [{{"filters": 16}}, ...]')
    return tuple(found)


def continuation(arguments: argparse.Namespace, study: str, trials: int) -> str:
    """The command that continues a sweep. Its study has recorded the other options that its trials depend on."""
    again = ["python", "-m", "search.sweep", "--study", study, "--trials", str(trials)]
    kept = ("storage", "tracking_uri", "workers", "timeout", "takeover_after", "figures", "engine", *RAY_OPTIONS)
    hidden = False
    for option in kept:
        if value := getattr(arguments, option):
            shown = redact(value) if option in ("storage", "tracking_uri", "ray_address") else str(value)
            hidden |= shown != str(value)
            again += [f"--{option.replace('_', '-')}", shown]
    return shlex.join(again) + (f" (replace {MARK} by the secrets, which are not recorded)" if hidden else "")
