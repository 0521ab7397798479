"""Train and keep one configuration as one tracked run.  Run: python -m search.trial --architecture malireddi"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.knobs import Knob, knob_from_text
from experiments.config import AUGMENTATIONS, COMPRESSIONS, LEARNING_RATES, PRECISIONS, default_tracking_uri
from experiments.datasets.arguments import IMAGE_OPTIONS, add_arguments, dataset_given
from experiments.objective import OBJECTIVES
from search.config import AUTO, ON
from search.options import SCHEDULE_HELP, add_common, add_recipe, add_views
from search.trials.config import TrialConfig


def parser() -> Parser:
    made = Parser("search.trial", "Train one configuration as one tracked run, and keep and register its model.")
    add, field = made.add_argument, partial(made.add_field, TrialConfig)
    add("--architecture", required=True, type=_architecture, metavar="NAME", help="registered architecture")
    add_arguments(made)
    field("epochs", metavar="N", help="maximum number of epochs (default 10)")
    field("batch_size", metavar="N", help="default 128, or smaller for few images")
    field("dropout", metavar="RATE", help="default: as published")
    field("filters", metavar="N", help="width of the first stage (default: as published)")
    field(
        "learning_rate",
        metavar="X",
        help="the highest learning rate (default 3e-3; constant: 1e-3; sgd: ten times as high)",
    )
    add("--schedule", choices=tuple(LEARNING_RATES), help=SCHEDULE_HELP)
    add_recipe(made, TrialConfig)
    add(
        "--augment",
        nargs="?",
        choices=(ON, *AUGMENTATIONS),
        const=ON,
        help="change training images at random: digits (shift, scale, rotate), photo (flip, crop, recolour, "
        "RandAugment), off (the default), or on: photo if they are in colour, else digits",
    )
    add_views(made, TrialConfig)
    add(
        "--knob",
        dest="knobs",
        action="append",
        type=_knob,
        metavar="NAME=VALUE",
        help="a hyperparameter of this architecture; repeatable",
    )
    add("--objective", choices=OBJECTIVES, help="the figure by which the best epoch is chosen (default val_accuracy)")
    field("seed", metavar="N", help="default 0")
    add(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        help="auto (the default) trains in bfloat16 if the processor or GPU supports it; the kept model is float32",
    )
    add(
        "--compress",
        choices=COMPRESSIONS,
        help="count the bytes of the file that conversion.promote makes with the same option (default none)",
    )
    field("experiment", metavar="NAME", help="MLflow experiment (default: the data set's name)")
    field("register_as", metavar="NAME", help="registered model (default <dataset>-classifier)")
    add_common(made)
    return made


def _architecture(text: str) -> str:
    """Parse one name; an argparse type."""
    if "," in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not one name: python -m search.sweep trains several")
    return text


def _knob(text: str) -> tuple[str, Knob]:
    """Parse a knob and its value; an argparse type."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, knob_from_text(value)


def _body(arguments: argparse.Namespace) -> int:
    options = vars(arguments) | {"dataset": dataset_given(arguments, TrialConfig.dataset)}
    options = {key: value for key, value in options.items() if value is not None}
    for common in ("json", "debug", *IMAGE_OPTIONS):
        options.pop(common, None)
    for several in ("plugins", "knobs"):
        options[several] = tuple(options.get(several, ()))
    from search.trials.single import run_trial

    trial = run_trial(TrialConfig(**({"tracking_uri": default_tracking_uri()} | options)))
    if arguments.json:
        print_json(trial.as_json())
    else:
        result = trial.result
        say(
            f"Run {trial.run_id}: val_accuracy {result.best_val_accuracy:.4f} at epoch {result.best_epoch}, "
            f"{result.size.parameters:,} parameters, {result.size.coreml_bytes:,} Core ML bytes, "
            f"{result.latency_ms:.2f} ms an image."
        )
        say(
            f"Registered as {trial.model.registered_name}, version {trial.model.version}. "
            f"Next: python -m conversion.promote --run {trial.run_id}"
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
