"""Options that sweeps and single trials share."""

from __future__ import annotations

from architectures.command import Parser
from architectures.fields import PluginName, allowed
from experiments.recipe import ASKED, Recipe, RecipeRanges

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


def add_recipe(made: Parser, config: type[Recipe] | type[RecipeRanges], metavar: str, text: str) -> None:
    """An option for each hyperparameter of the recipe; `text` holds the place of what it is."""
    for name, asked in ASKED.items():
        flag = f"--{name.replace('_', '-')}"
        made.add_argument(flag, type=allowed(config, name), metavar=metavar, help=text.format(asked.help))
