"""Search hyperparameters of registered architectures.  Run: python -m search.sweep --trials 20"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial

from architectures.command import INTERRUPTED, Parser, print_json, run, several
from architectures.display import say
from architectures.errors import UsageError
from experiments.config import COMPRESSIONS, LEARNING_RATES, PRECISIONS, default_tracking_uri
from experiments.datasets.arguments import add_arguments, dataset_given
from experiments.objective import FIGURES, MOST_OBJECTIVES
from search.config import (
    AUGMENT_OPTIONS,
    AUTO,
    ENGINES,
    ON,
    PRUNERS,
    SAMPLERS,
    SweepConfig,
    given_options,
    new_study_name,
)
from search.config_file import ConfigParser, as_toml
from search.engines.messages import LARGEST_UNASKED
from search.options import (
    SCHEDULE_HELP,
    add_common,
    add_recipe_ranges,
    add_views,
    configurations,
    continuation,
    knob_choices,
)


def parser() -> Parser:
    made = ConfigParser(
        "search.sweep",
        "Search batch size, dropout and filters of registered architectures. Every trial is an MLflow run; the best "
        "models are registered.",
    )
    add, field = made.add_argument, partial(made.add_field, SweepConfig)
    field("study", metavar="NAME", help="create or continue this study (default: a new dated name)")
    add_arguments(made)
    add(
        "--architecture",
        dest="architectures",
        action="extend",
        type=several,
        metavar="NAME,NAME",
        help="search only these; repeatable (default: all that fit the images)",
    )
    field("trials", metavar="N", help="total number of trials in the study, including earlier ones (default 12)")
    field("timeout", metavar="SECONDS", help="start no new trial after this time")
    field("epochs", metavar="N", help="maximum number of epochs per trial (default 15)")
    field(
        "batch_sizes",
        metavar="N,N",
        help="choices (default 64,128,256, or smaller ones for few images)",
        flag="--batch-size",
    )
    field(
        "dropout",
        metavar="LOW:HIGH",
        help="range (default 0.0:0.5); all ranges can have a step: LOW:HIGH:STEP",
    )
    field("filters", metavar="N,N", help="choices for the first stage's width (default 8,16,32)")
    add(
        "--knob",
        dest="knobs",
        action="append",
        type=knob_choices,
        metavar="NAME=VALUE,VALUE",
        help="search these values of an architecture's own hyperparameter instead of all; repeatable",
    )
    field(
        "learning_rate",
        metavar="LOW:HIGH",
        help="also search the highest learning rate, on a log scale, where a step is a factor (default 3e-3; constant: "
        "1e-3; sgd: ten times as high)",
    )
    add("--schedule", choices=tuple(LEARNING_RATES), help=SCHEDULE_HELP)
    add_recipe_ranges(made, SweepConfig)
    add(
        "--augment",
        nargs="?",
        choices=AUGMENT_OPTIONS,
        const=ON,
        help="change training images at random: digits (shift, scale, rotate), photo (flip, crop, recolour, "
        "RandAugment), off, search (each trial chooses), or on (the default): photo if they are in colour, else digits",
    )
    add_views(made, SweepConfig)
    field(
        "objectives",
        metavar="NAMES",
        help=f"up to {MOST_OBJECTIVES} of {', '.join(FIGURES)}, separated by commas; one of the first three is "
        "required (default val_accuracy)",
        flag="--objective",
    )
    field(
        "max_coreml_bytes",
        metavar="N",
        help="trials whose Core ML file would be larger are infeasible and not trained; without it, those of more than "
        f"{LARGEST_UNASKED:,} parameters",
    )
    add(
        "--compress",
        choices=COMPRESSIONS,
        help="count the bytes of the file that conversion.promote makes with the same option (default none); prune50 "
        "and prune75 need an mlpackage and are refused",
    )
    add(
        "--pruner",
        choices=PRUNERS,
        help="how unpromising trials are stopped (default halving; with fewer than five epochs median, or front with "
        "several objectives; none if one of these is only known at the end)",
    )
    add(
        "--sampler",
        choices=SAMPLERS,
        help="the sampler of Optuna that draws the configurations: tpe (the default), gp, cmaes, random; grid and "
        "bruteforce try each combination once",
    )
    field(
        "warm_start",
        metavar="off|auto|portfolio|STUDY",
        help="start each architecture with its best configuration in an earlier study (the one named, or with auto "
        "those on other data in the storage) or in the portfolio that was learned on public data (default; not with "
        "limits or objectives of size); off: as published",
    )
    field(
        "workers",
        metavar="N",
        help="worker processes, which share the cores (default 1); auto: one per core, as far as memory and a GPU "
        "allow. With --engine ray: the maximum number of trials at a time (default: as many as fit)",
    )
    field(
        "takeover_after",
        metavar="SECONDS",
        help="take over the trials of another host after so long without a heartbeat (default 60)",
    )
    add("--engine", choices=ENGINES, help="run trials here (the default) or as tasks of a Ray cluster")
    add(
        "--ray-address",
        metavar="HOST:PORT",
        help="the cluster's head node, or auto for the cluster that this machine belongs to (default: RAY_ADDRESS, "
        "else a new cluster on this machine)",
    )
    field(
        "cpus_per_trial", metavar="N", help="CPUs, and threads of TensorFlow, per trial with --engine ray (default 1)"
    )
    field(
        "gpus_per_trial",
        metavar="X",
        help="GPUs per trial with --engine ray; with 0.5, two trials share one (default 0)",
    )
    add("--storage", metavar="URL", help="Optuna storage (default sqlite:///optuna.db)")
    field("seed", metavar="N", help="seed of every trial and of the search (default 0)")
    add(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        help="auto (the default) trains in bfloat16 if the processor or GPU supports it; kept models are float32",
    )
    field("experiment", metavar="NAME", help="MLflow experiment (default: the data set's name)")
    field("register_as", metavar="NAME", help="registered model (default <dataset>-classifier)")
    field(
        "keep",
        metavar="N",
        help="number of best models to keep and register (default 3), besides the front of accuracy and bytes",
    )
    field(
        "replicates",
        metavar="K",
        help="train the best configurations, and the best of each architecture, with K more seeds; rank by the mean",
    )
    add(
        "--enqueue",
        type=configurations,
        metavar="FILE",
        help="configurations to try first, as a JSON list or a file with one (default: see --warm-start)",
    )
    add("--figures", choices=("on", "off"), help="off: only numbers and tables (default on)")
    add_common(made)
    return made


def _body(arguments: argparse.Namespace) -> int:
    options = vars(arguments) | {
        key: tuple(dict.fromkeys(value)) if (value := getattr(arguments, key)) else None
        for key in ("architectures", "plugins", "knobs")
    }
    if arguments.figures:
        options["figures"] = arguments.figures == "on"
    options["dataset"] = dataset_given(arguments, SweepConfig.dataset)
    values = given_options(options)
    values.setdefault("tracking_uri", default_tracking_uri())
    values.setdefault("study", new_study_name(str(values.get("dataset", SweepConfig.dataset))))
    started = time.perf_counter()
    config = SweepConfig(**values)  # type: ignore[arg-type]
    if arguments.dump_config:
        if arguments.json:
            raise UsageError("--dump-config prints TOML: leave --json out.")
        for line in as_toml(config, but=() if arguments.study else ("study",)).splitlines():
            say(line)
        return 0
    from search import broker, orchestrate

    result = (broker.sweep_on_ray if config.engine == "ray" else orchestrate.sweep)(config)
    if arguments.json:
        print_json(result.as_json() | {"seconds": time.perf_counter() - started})
    else:
        result.show()
    if result.interrupted:
        say(f"interrupted; to continue: {continuation(arguments, result.study, result.trials)}", file=sys.stderr)
        return INTERRUPTED
    if result.failure:
        say(f"error: {result.failure}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
