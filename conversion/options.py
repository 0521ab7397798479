"""Options that several commands share."""

from __future__ import annotations

from architectures.command import Parser
from architectures.fields import PluginName


def add_common(made: Parser) -> None:
    """Add the options for the store, and for plugins that define a model's layers or data set."""
    made.add_argument("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    made.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        type=PluginName(),
        metavar="MODULE",
        help="module or .py file that defines the model's layers or data set; repeatable",
    )
