"""Convert the best registered model to a checked Core ML file.  Run: python -m conversion.promote

The file ships only after it was executed here and agreed with its model; otherwise nothing is changed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.fields import PLUGINS, Name, Number, Whole, allowed, validate
from architectures.scratch import scratch_folder
from conversion.choose import MAX_ACCURACY_LOSS
from conversion.choose import show as show_choice
from conversion.compress import COMPRESSIONS, Compression
from conversion.coreml_file import FORMATS, Format
from conversion.output import DEFAULT_OUTPUT, OTHER_MODELS, OTHER_NAME, Place, default_output, output_path, taken
from conversion.verify import add_common, show

if TYPE_CHECKING:
    from conversion.candidate import Candidate
    from conversion.gate import Decision
    from conversion.report import Examination
    from conversion.verify import Evidence
    from experiments.tracking import PromotionRecord, Tracker, VersionRecord

DEFAULT_MODEL = "mnist5k-classifier"
READ_BY_CHECK = {"check", "model", "output", "tracking_uri", "plugins", "json", "debug"}  # options of promote
Prefer = Literal["best", "smallest"]
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)


@dataclass(frozen=True)
class PromoteConfig:
    """What to promote, where to, and on which terms.

    Raises:
        UsageError: for a value that is not allowed.
    """

    tracking_uri: str
    model: Annotated[str, Name()] | None = None  # registered model; None: the run's own, else mnist5k-classifier
    run_id: str | None = None
    version: Annotated[int, Whole(1)] | None = None
    prefer: Prefer = "best"  # of the registered versions; smallest: that is not significantly worse than the best
    output: Annotated[str | Path, Place()] | None = None  # file or folder; None: the registered model's own place
    min_accuracy: Annotated[float, Number(0, 1)] | None = None  # of the executed file on the test images, 0..1
    max_bytes: Annotated[int, Whole(1)] | None = None
    format: Format | None = None  # None: mlmodel, or what --compress auto finds
    compress: Compression | Literal["auto"] = "none"
    # points of validation accuracy that the file may lose
    max_accuracy_loss: Annotated[float, Number(0, 100)] = MAX_ACCURACY_LOSS
    author: str = ""  # written into the file, as the next; empty: it names none
    license: str = ""
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()
    dry_run: bool = False
    forced_reason: str | None = None  # why a refusal is overridden; None: it is not

    def __post_init__(self) -> None:
        validate(self)
        if self.run_id is not None and self.version is not None:
            raise UsageError("PromoteConfig takes run_id or version, not both: each names one model.")
        if self.prefer != "best" and (self.run_id is not None or self.version is not None):
            raise UsageError(
                "PromoteConfig.prefer chooses among the registered versions: leave out run_id and version."
            )
        if self.forced_reason is not None and not self.forced_reason.strip():
            raise UsageError("PromoteConfig.forced_reason is empty: what is overridden is recorded with the reason.")


@dataclass(frozen=True)
class Promotion:
    """A promotion that was decided, and unless it was a dry run, made."""

    examination: Examination
    path: Path
    version: VersionRecord | None  # None where nothing was promoted of a run that was not registered
    record: PromotionRecord | None  # None for a dry run or a refusal
    page: str | None  # where promotion.html is, for people: a path, or a URI in a server's store; None for a dry run
    seconds: float  # start-up aside

    def as_json(self) -> dict[str, object]:
        from conversion.report import summary

        return summary(self.examination) | {
            "file": str(self.path),
            "registered_model": self.version.registered_name if self.version else None,
            "version": self.version.version if self.version else None,
            "promotion_model": self.record.name if self.record else None,
            "promotion": self.record.number if self.record else None,
            "previous_promotion": self.record.previous if self.record else None,
            "page": self.page,
            "seconds": self.seconds,
        }


def promote(config: PromoteConfig) -> Promotion:
    """Promote a model.

    Raises:
        UsageError: for an unknown run, version or registered model.
        PromotionRefused: with every reason; no alias and no file was changed, the refusal was recorded.
        NotCheckable: if the file cannot be executed here, which nothing overrides; nothing was changed.
        ProjectError: if there is nothing to convert, or the file cannot be written.

    An example stands in docs/api.md.
    """

    from conversion.candidate import load_candidate
    from conversion.champion import Champion, load_champion
    from conversion.choose import choose, measured_on
    from conversion.compress import check_available
    from conversion.convert import coremltools
    from conversion.files import clear, write
    from conversion.gate import PromotionRefused, judge
    from conversion.publish import Overtaken, publish, record_refusal
    from conversion.report import Examination
    from conversion.runtime import load
    from conversion.switch import settle_left_over
    from conversion.verify import verify
    from experiments.tracking import Current, Tracker

    if config.compress != "auto":
        check_available(config.format or "mlmodel", config.compress)
    tracker = Tracker(config.tracking_uri, create=False)
    candidate = load_candidate(
        tracker,
        command="conversion.promote --dry-run" if config.dry_run else "conversion.promote",
        name=config.model or DEFAULT_MODEL,
        run_id=config.run_id,
        version=config.version,
        prefer=config.prefer,
        plugins=config.plugins,
        author=config.author,
        license=config.license,
    )
    if not config.dry_run:
        tracker.check_not_deleted(candidate.run.run_id)  # its experiment takes no record of a promotion
    coremltools()  # imported before the clock starts
    started = time.perf_counter()
    registered_name = _registered_name(tracker, candidate, config.model)
    version = tracker.registered(registered_name, candidate.model)
    converter, choice = candidate.converter, None
    if config.compress == "auto":
        formats = (config.format,) if config.format else FORMATS
        choice = choose(converter, candidate.dataset.val, formats=formats, max_accuracy_loss=config.max_accuracy_loss)
        file, compression, measured = choice.file, choice.chosen.compression, choice.measured
    else:
        compression = config.compress
        file = converter.file(format=config.format or "mlmodel", compression=compression)
        measured = measured_on(file, candidate.dataset.val)
    # The file tells of its own accuracy, not of the model's, and from which confidence on its guess is an answer.
    file = converter.file(format=file.format, compression=compression, measured=measured)
    dataset = candidate.dataset
    usual = default_output(registered_name, image=dataset.input_shape, labels=dataset.class_names)
    path = output_path(config.output, usual, file.format)
    if not config.dry_run:
        settle_left_over(tracker, registered_name)
        clear(path)
    judged = tracker.current(registered_name)
    champion: Champion | ProjectError | None
    try:
        champion = load_champion(tracker, registered_name)
        judged = champion.current if champion else Current(None, None)
    except ProjectError as error:
        champion = error
    with scratch_folder() as folder:
        saved = folder / path.name
        write(file, saved)
        interface = load(saved).interface
        occupied = taken(path, tracker, name=registered_name, dataset=dataset.name)

        def decide(evidence: Evidence) -> Decision:
            return judge(config, candidate, evidence, interface, champion=champion, path=path, taken=occupied)

        evidence = verify(
            saved,
            candidate,
            compression=compression,
            worth_a_look=lambda evidence: decide(evidence).outcome != "refused",
        )
    decision = decide(evidence)
    examination = Examination(candidate, file, interface, choice, evidence, decision, datetime.now(UTC))

    def refusal(examination: Examination) -> PromotionRefused:
        report = record_refusal(tracker, examination, version)
        page = tracker.place_in_model(candidate.model.model_id, f"{report}/promotion.html")
        refused = Promotion(examination, path, version, None, page, time.perf_counter() - started)
        return PromotionRefused(examination.decision.reasons, refused.as_json() | {"report": report}, refused)

    record = page = None
    if not config.dry_run:
        if decision.outcome == "refused":
            raise refusal(examination)
        try:
            version, record = publish(
                tracker, examination, name=registered_name, path=path, judged=judged, taken=occupied
            )
        except Overtaken as overtaken:
            raise refusal(replace(examination, decision=decision.overtaken(str(overtaken)))) from None
        page = tracker.place_in_model(record.model_id, "promotion.html")
    return Promotion(examination, path, version, record, page, time.perf_counter() - started)


def _registered_name(tracker: Tracker, candidate: Candidate, asked: str | None) -> str:
    """The registered model that a promotion goes to."""
    from experiments.tracking import VersionRecord

    if asked:
        return asked
    if isinstance(candidate.model, VersionRecord):
        return candidate.model.registered_name
    return tracker.registered_name(candidate.run.run_id) or f"{candidate.dataset.name}-classifier"


def parser() -> Parser:
    made = Parser(
        "conversion.promote",
        "Convert the best registered model to Core ML, execute the file, and make it the champion if it agrees with "
        "its model.",
    )
    add = made.add_argument
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
    add(
        "--model",
        type=allowed(PromoteConfig, "model"),
        metavar="NAME",
        help=f"registered model (default: that of --run, else {DEFAULT_MODEL})",
    )
    add(
        "--output",
        type=allowed(PromoteConfig, "output"),
        metavar="PATH",
        help=f"file or folder (default {DEFAULT_OUTPUT} for digits, {OTHER_MODELS}/NAME/{OTHER_NAME} for any other)",
    )
    add(
        "--min-accuracy",
        type=allowed(PromoteConfig, "min_accuracy"),
        metavar="X",
        help="refuse a file of lower test accuracy",
    )
    add("--max-bytes", type=allowed(PromoteConfig, "max_bytes"), metavar="N", help="refuse a larger file")
    add("--format", choices=FORMATS, help="default mlmodel, or with --compress auto the better of both")
    add(
        "--compress",
        choices=(*COMPRESSIONS, "auto"),
        help="of the weights (default none); auto executes every choice and takes the smallest file that is accurate "
        "enough; prune50 and prune75 need --format mlpackage; an mlpackage needs iOS 15, compressed beyond float16 iOS "
        "16, an mlmodel iOS 13",
    )
    add(
        "--max-accuracy-loss",
        type=allowed(PromoteConfig, "max_accuracy_loss"),
        metavar="POINTS",
        help="points of validation accuracy, 0 to 100, by which the file may be below the uncompressed one "
        f"(default {MAX_ACCURACY_LOSS:g})",
    )
    add("--author", metavar="NAME", help="written into the file, which names none unless given")
    add("--license", metavar="TEXT", help="written into the file, which names none unless given")
    add(
        "--dry-run",
        action="store_true",
        help="show the decision and change nothing; a look at the test images counts",
    )
    add(
        "--check",
        action="store_true",
        help="promote nothing: say whether the file in its place is the champion's, and exit 1 if it is not",
    )
    add("--force", action="store_true", help="promote in spite of what the gate finds; needs --reason")
    add("--reason", metavar="TEXT", help="why --force is right; recorded with what it overrode")
    add_common(made)
    return made


def _config(arguments: argparse.Namespace) -> PromoteConfig:
    from experiments.tracking import default_uri

    options = {key: value for key, value in vars(arguments).items() if value is not None}
    for other in ("json", "debug", "force", "reason", "check"):
        options.pop(other, None)
    reason = (arguments.reason or "").strip()
    if arguments.force != bool(reason):
        raise UsageError("--force and --reason TEXT go together: what is overridden is recorded with the reason.")
    options["plugins"] = tuple(options["plugins"])
    options.setdefault("tracking_uri", default_uri())
    return PromoteConfig(**options, forced_reason=reason or None)


def _body(arguments: argparse.Namespace) -> int:
    from conversion.gate import PromotionRefused

    config = _config(arguments)
    if arguments.check:
        unused = sorted(name for name, value in vars(arguments).items() if value and name not in READ_BY_CHECK)
        if unused:
            given = ", ".join(f"--{name.removesuffix('_id').replace('_', '-')}" for name in unused)
            raise UsageError(f"--check takes --model, --output and --tracking-uri, not {given}.")
        return _check(config, as_json=arguments.json)
    try:
        promotion = promote(config)
    except PromotionRefused as refused:
        if arguments.json:
            print_json(dict(refused.report))
        else:
            _show(refused.promotion)
        raise
    if arguments.json:
        print_json(promotion.as_json())
    else:
        _show(promotion)
    if promotion.examination.decision.outcome != "refused":
        return 0
    for reason in promotion.examination.decision.reasons:
        say(f"error: would be refused: {reason}", file=sys.stderr)
    return PromotionRefused.exit_code


def _check(config: PromoteConfig, *, as_json: bool) -> int:
    from conversion.in_place import check_in_place
    from experiments.tracking import Tracker

    tracker = Tracker(config.tracking_uri, create=False, write=False)
    found = check_in_place(tracker, config.model or DEFAULT_MODEL, config.output)
    if as_json:
        print_json(found.as_json())
    elif not found.problems:
        say(f"{found.path} is the file of promotion {found.promotion}, the champion of {found.registered_name}.")
    for problem in found.problems:
        say(f"error: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


def _show(promotion: Promotion) -> None:
    examination, facts = promotion.examination, promotion.as_json()
    if examination.candidate.preference:
        say(f"--prefer smallest takes {examination.candidate.preference.text}.")
    if examination.choice:
        show_choice(examination.choice)
    outcome = examination.decision.outcome
    if promotion.record:
        verb = {"promoted": "Promoted", "forced": "Promoted by force"}[outcome]
    else:
        verb = {"promoted": "Would promote", "forced": "Would promote by force", "refused": "Not promoted:"}[outcome]
    say(f"{verb} {facts['run']} (run {facts['run_id']}) to {promotion.path}")
    show(examination.evidence)
    for criterion in examination.decision.criteria:
        sign = "ok  " if criterion.verdict == "passed" else "FAIL" if criterion.refuses else "-   "
        say(f"  {sign} {criterion.name}: {criterion.finding}")
    if "test_accuracy" in facts:
        say(
            f"Test accuracy of the file {facts['test_accuracy']:.4f} "
            f"(95 % interval {facts['test_accuracy_low']:.3f} to {facts['test_accuracy_high']:.3f}), "
            f"{facts['coreml_bytes']:,} bytes, {promotion.seconds:.1f} s"
        )
    if promotion.record:
        say(
            f"Alias champion on version {facts['version']} of {facts['registered_model']}, "
            f"and on promotion {facts['promotion']} in {facts['promotion_model']}."
        )
    if promotion.page:
        say(f"Page: {promotion.page}")


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
