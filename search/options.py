"""Options that sweeps and single trials share."""

from __future__ import annotations

from architectures.command import Parser
from architectures.fields import PluginName, allowed
from experiments.recipe import ASKED, CHOICES, OFF, Recipe, RecipeRanges

SCHEDULE_HELP = (
    "of Adam's learning rate: cosine (the default) falls to 0 over --epochs, constant stays and ends a run that does "
    "not improve for 5 epochs"
)


def add_common(made: Parser) -> None:
    """The MLflow store and the plugins."""
    made.add_argument("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    made.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        type=PluginName(),
        metavar="MODULE",
        help="module or .py file that registers architectures or data sets; repeatable",
    )


def add_views(made: Parser, config: type) -> None:
    """How many augmented views of an image a frozen backbone sees."""
    made.add_argument(
        "--views",
        type=allowed(config, "views"),
        metavar="K",
        help="with --augment and the knob train=head: keep what the backbone makes of K augmented views of each image",
    )


def add_recipe(made: Parser, config: type[Recipe]) -> None:
    """An option for each hyperparameter of the recipe, for one trial."""
    for name, asked in ASKED.items():
        made.add_argument(
            _flag(name),
            type=allowed(config, name),
            metavar="|".join(CHOICES[name]) if name in CHOICES else "X",
            help=f"{asked.help} (default {OFF[name] or 0})",
        )


def add_recipe_ranges(made: Parser, config: type[RecipeRanges]) -> None:
    """An option for what is searched of each hyperparameter of the recipe; a single value is given to all trials."""
    for name, asked in ASKED.items():
        made.add_argument(
            _flag(name),
            type=allowed(config, name),
            metavar=",".join(CHOICES[name]) if name in CHOICES else "LOW:HIGH",
            help=f"search the {asked.help} (default: {OFF[name] or 'none'}); one value for all trials",
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
