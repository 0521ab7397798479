"""Convert the best registered model to a checked Core ML file.  Run: python -m conversion.promote"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError
from architectures.fields import allowed
from conversion.coreml.formats import COMPRESSIONS, FORMATS
from conversion.options import add_common
from conversion.promotion.config import DEFAULT_MODEL, MAX_ACCURACY_LOSS, PREFERENCES, PromoteConfig
from conversion.promotion.place import DEFAULT_OUTPUT, OTHER_MODELS, OTHER_NAME
from experiments.config import default_tracking_uri

READ_BY_CHECK = {"check", "model", "output", "tracking_uri", "plugins", "json", "debug"}  # options


def parser() -> Parser:
    made = Parser(
        "conversion.promote",
        "Convert the best registered model to Core ML, run the file, and make it the champion if it passes the gate.",
    )
    add, field = made.add_argument, partial(made.add_field, PromoteConfig)
    which = made.add_mutually_exclusive_group()
    which.add_argument(
        "--run",
        dest="run_id",
        metavar="RUN_ID",
        help="the model of this MLflow run: its id, a prefix of it, or its name",
    )
    which.add_argument(
        "--version", type=allowed(PromoteConfig, "version"), metavar="N", help="this version of the registered model"
    )
    which.add_argument(
        "--prefer",
        choices=PREFERENCES,
        help="the most accurate registered version (the default), or the smallest that is not significantly worse on "
        "the validation images",
    )
    field("model", metavar="NAME", help=f"registered model (default: that of --run, else {DEFAULT_MODEL})")
    field(
        "output",
        metavar="PATH",
        help=f"file or folder (default {DEFAULT_OUTPUT} for digits, {OTHER_MODELS}/NAME/{OTHER_NAME} for any other)",
    )
    field("min_accuracy", metavar="X", help="refuse a file with a lower test accuracy")
    field("max_bytes", metavar="N", help="refuse a larger file")
    add("--format", choices=FORMATS, help="default mlmodel; with --compress auto, the better of both")
    add(
        "--compress",
        choices=(*COMPRESSIONS, "auto"),
        help="how weights are stored (default none); auto runs every choice and takes the smallest file that is "
        "accurate enough; prune50 and prune75 need --format mlpackage; an mlmodel needs iOS 13, an mlpackage iOS 15, "
        "or iOS 16 if compressed beyond float16",
    )
    field(
        "max_accuracy_loss",
        metavar="POINTS",
        help="points of validation accuracy, 0 to 100, that the file may lose against the uncompressed model "
        f"(default {MAX_ACCURACY_LOSS:g})",
    )
    add("--author", metavar="NAME", help="author to write into the file (default: none)")
    add("--license", metavar="TEXT", help="license to write into the file (default: none)")
    add(
        "--dry-run",
        action="store_true",
        help="show the decision, but change nothing; it still counts as a use of the test images",
    )
    add(
        "--check",
        action="store_true",
        help="promote nothing, only check that the file in its place is the champion's; exit 1 if not",
    )
    add("--force", action="store_true", help="promote although the gate refuses; needs --reason")
    add("--reason", metavar="TEXT", help="why --force is justified; recorded with what it overrides")
    add("--verbose", action="store_true", help="also list every property of the file that passed")
    add_common(made)
    return made


def _config(arguments: argparse.Namespace) -> PromoteConfig:
    if arguments.check:
        unused = sorted(name for name, value in vars(arguments).items() if value and name not in READ_BY_CHECK)
        if unused:
            given = ", ".join(f"--{name.removesuffix('_id').replace('_', '-')}" for name in unused)
            raise UsageError(f"--check takes --model, --output and --tracking-uri, not {given}.")
    options = {key: value for key, value in vars(arguments).items() if value is not None}
    for other in ("json", "debug", "force", "reason", "check", "verbose"):
        options.pop(other, None)
    reason = (arguments.reason or "").strip()
    if arguments.force != bool(reason):
        raise UsageError("--force and --reason TEXT go together: what is overridden is recorded with the reason.")
    options["plugins"] = tuple(options["plugins"])
    options.setdefault("tracking_uri", default_tracking_uri())
    return PromoteConfig(**options, forced_reason=reason or None)


def _body(arguments: argparse.Namespace) -> int:
    from conversion.promotion import pipeline, show

    config = _config(arguments)
    if arguments.check:
        return show.show_check(pipeline.check(config), as_json=arguments.json)
    try:
        promotion = pipeline.promote(config)
    except pipeline.PromotionRefused as refused:
        if arguments.json:
            print_json(dict(refused.report))
        else:
            show.show_promotion(refused.promotion, verbose=arguments.verbose)
        raise
    if arguments.json:
        print_json(promotion.as_json())
    else:
        show.show_promotion(promotion, verbose=arguments.verbose)
    if promotion.examination.decision.outcome != "refused":
        return 0
    for reason in promotion.examination.decision.reasons:
        say(f"error: would be refused: {reason}", file=sys.stderr)
    return pipeline.PromotionRefused.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
