"""Options that sweeps and single trials share."""

from __future__ import annotations

from architectures.command import Parser
from architectures.fields import PluginName

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
