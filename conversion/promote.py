"""Convert the best registered model to a checked Core ML file.  Run: python -m conversion.promote

The file ships only after it was executed here and agreed with its model; otherwise nothing is changed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from architectures.command import Parser, number, print_json, run, whole
from architectures.errors import UsageError
from conversion.choose import MAX_ACCURACY_LOSS
from conversion.choose import show as show_choice
from conversion.compress import COMPRESSIONS, Compression
from conversion.convert import DEFAULT_AUTHOR, DEFAULT_LICENSE
from conversion.coreml_file import FORMATS, Format
from conversion.verify import add_common, show

if TYPE_CHECKING:
    from conversion.candidate import Candidate
    from conversion.choose import Choice
    from conversion.verify import Evidence
    from experiments.tracking import Tracker, VersionRecord

DEFAULT_MODEL = "mnist5k-classifier"
DEFAULT_OUTPUT = Path("ios/Digits/Model/DigitClassifier.mlmodel")
TAGS = ("coreml_sha256", "coreml_bytes", "coreml_format", "compression", "test_accuracy")  # of a promoted version
SUFFIXES = (".mlmodel", ".mlpackage")  # Xcode cannot hold two of one base name


@dataclass(frozen=True)
class PromoteConfig:
    """What to promote, where to, and on which terms."""

    tracking_uri: str
    model: str | None = None  # registered model; None: the run's own, else mnist5k-classifier
    run_id: str | None = None
    version: int | None = None
    output: Path = DEFAULT_OUTPUT
    min_accuracy: float | None = None  # of the executed file on the test images, 0..1
    max_bytes: int | None = None
    format: Format | None = None  # None: mlmodel, or what --compress auto finds
    compress: Compression | Literal["auto"] = "none"
    max_accuracy_loss: float = MAX_ACCURACY_LOSS  # points of validation accuracy that compression may cost
    author: str = DEFAULT_AUTHOR
    license: str = DEFAULT_LICENSE
    plugins: tuple[str, ...] = ()
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True)
class Promotion:
    """A promotion that was decided, and unless it was a dry run, made."""

    candidate: Candidate
    evidence: Evidence
    reasons: tuple[str, ...]  # why it would be refused; empty but for a dry run
    path: Path
    version: VersionRecord | None  # None for a dry run on a run that was not registered
    seconds: float  # start-up aside
    choice: Choice | None  # of --compress auto

    def as_json(self) -> dict[str, object]:
        from conversion.report import summary

        return summary(self.candidate, self.evidence, self.reasons) | {
            "file": str(self.path),
            "registered_model": self.version.registered_name if self.version else None,
            "version": self.version.version if self.version else None,
            "seconds": self.seconds,
            "compression_search": self.choice.as_json() if self.choice else None,
        }


def promote(config: PromoteConfig) -> Promotion:
    """Promote a model.

    Raises:
        UsageError: for an unknown run, version or registered model.
        PromotionRefused: with every reason; nothing was changed.
        NotCheckable: if the file cannot be executed here; nothing was changed.
        ProjectError: if there is nothing to convert, or the file cannot be written.
    """
    import gc

    from conversion.candidate import load_candidate
    from conversion.choose import choose, write_choice
    from conversion.compress import check_available
    from conversion.convert import Converter, coremltools
    from conversion.files import staged, write
    from conversion.gate import Demands, PromotionRefused, reasons_to_refuse
    from conversion.report import summary, write_evidence
    from conversion.verify import PARITY_TOLERANCE, verify
    from experiments.tracking import CHAMPION, Tracker, VersionRecord

    if config.compress != "auto":
        check_available(config.format or "mlmodel", config.compress)
    path = output_path(config.output)
    if not config.force:
        refuse_foreign(path)
    tracker = Tracker(config.tracking_uri, create=False)
    candidate = load_candidate(
        tracker,
        name=config.model or DEFAULT_MODEL,
        run_id=config.run_id,
        version=config.version,
        plugins=config.plugins,
        author=config.author,
        license=config.license,
    )
    coremltools()
    gc.collect()
    gc.freeze()  # coremltools collects garbage three times: without the imports' objects that costs nothing
    started = time.perf_counter()
    converter, choice = Converter(candidate.classifier, candidate.facts), None
    if config.compress == "auto":
        formats = (config.format,) if config.format else FORMATS
        choice = choose(converter, candidate.dataset.val, formats=formats, max_accuracy_loss=config.max_accuracy_loss)
        converted = choice.file
    else:
        converted = converter.file(format=config.format or "mlmodel", compression=config.compress)
    path = path.with_suffix(converted.suffix)
    with tempfile.TemporaryDirectory(prefix="pocketnets-") as name:
        folder = Path(name)
        file = folder / path.name
        write(converted, file)
        if choice:
            write_choice(choice, folder)
        evidence = verify(file, candidate)
        reasons = reasons_to_refuse(evidence, Demands(config.min_accuracy, config.max_bytes))
        if config.dry_run:
            seconds = time.perf_counter() - started
            known = candidate.model if isinstance(candidate.model, VersionRecord) else None
            return Promotion(candidate, evidence, reasons, path, known, seconds, choice)
        if reasons:
            raise PromotionRefused(reasons)
        write_evidence(folder, candidate, evidence, reasons)
        facts = summary(candidate, evidence, reasons)
        tags = {key: str(facts[key]) for key in TAGS}
        tags["parity"] = f"verified: {max(p.max_difference for p in evidence.parity):.1e} <= {PARITY_TOLERANCE:.0e}"
        with staged(converted, path) as put:
            version = tracker.register(_registered_name(tracker, candidate, config.model), candidate.model)
            tracker.attach(version, folder)
            tracker.tag_version(version, tags)
            put()
            tracker.set_alias(version, CHAMPION)
    return Promotion(candidate, evidence, reasons, path, version, time.perf_counter() - started, choice)


def _registered_name(tracker: Tracker, candidate: Candidate, asked: str | None) -> str:
    """The registered model that a promotion goes to."""
    from experiments.tracking import VersionRecord

    if asked:
        return asked
    if isinstance(candidate.model, VersionRecord):
        return candidate.model.registered_name
    return tracker.registered_name(candidate.run.run_id) or f"{candidate.dataset.name}-classifier"


def output_path(path: Path) -> Path:
    """Where the file goes: a folder gets the default name, and the suffix is the format's.

    >>> str(output_path(Path("build/Digits")))
    'build/Digits.mlmodel'
    """
    if path.is_dir() and path.suffix not in SUFFIXES:
        path /= DEFAULT_OUTPUT.name
    return path.with_suffix(".mlmodel") if path.suffix in SUFFIXES else path.with_name(path.name + ".mlmodel")


def refuse_foreign(path: Path) -> None:
    """Raise PromotionRefused if a file stands at `path`, or its other form beside it, that no promotion wrote."""
    from conversion.gate import PromotionRefused
    from conversion.runtime import CorruptModel, NotCheckable, load

    for suffix in SUFFIXES:
        standing = path.with_suffix(suffix)
        if not standing.exists():
            continue
        try:
            ours = "run_id" in load(standing).interface.metadata.user_defined
        except (CorruptModel, NotCheckable):
            ours = False
        if not ours:
            raise PromotionRefused(
                (f"{standing} exists and was not written by a promotion: move it, choose --output, or add --force",)
            )


def parser() -> Parser:
    made = Parser(
        "conversion.promote",
        "Convert the best registered model to Core ML, execute the file, and make it the champion if it agrees with "
        "its model.",
    )
    add = made.add_argument
    which = made.add_mutually_exclusive_group()
    which.add_argument("--run", dest="run_id", metavar="RUN_ID", help="the model of this MLflow run")
    which.add_argument("--version", type=whole(1), metavar="N", help="this version of the registered model")
    add("--model", metavar="NAME", help=f"registered model (default: that of --run, else {DEFAULT_MODEL})")
    add("--output", type=Path, metavar="PATH", help=f"file or folder (default {DEFAULT_OUTPUT})")
    add("--min-accuracy", type=number(0, 1), metavar="X", help="refuse a file of lower test accuracy")
    add("--max-bytes", type=whole(1), metavar="N", help="refuse a larger file")
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
        type=number(0, 100),
        metavar="POINTS",
        help="points of validation accuracy, 0 to 100, by which the file may be below the uncompressed one "
        f"(default {MAX_ACCURACY_LOSS:g})",
    )
    add("--author", metavar="NAME", help=f"written into the file (default {DEFAULT_AUTHOR})")
    add("--license", metavar="TEXT", help=f"written into the file (default {DEFAULT_LICENSE})")
    add("--dry-run", action="store_true", help="show the decision and change nothing")
    add("--force", action="store_true", help="overwrite a file that no promotion wrote")
    add_common(made)
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.tracking import default_uri

    options = {key: value for key, value in vars(arguments).items() if value is not None}
    for common in ("json", "debug"):
        del options[common]
    options["plugins"] = tuple(options["plugins"])
    config = PromoteConfig(**({"tracking_uri": default_uri()} | options))
    if str(config.output) == "":
        raise UsageError("--output is empty: give a file or a folder.")
    promotion = promote(config)
    if arguments.json:
        print_json(promotion.as_json())
    else:
        _show(promotion, dry_run=config.dry_run)
    for reason in promotion.reasons:
        print(f"error: would be refused: {reason}", file=sys.stderr)
    return 3 if promotion.reasons else 0


def _show(promotion: Promotion, *, dry_run: bool) -> None:
    if promotion.choice:
        show_choice(promotion.choice)
    facts = promotion.as_json()
    verb = "Would promote" if dry_run else "Promoted"
    print(f"{verb} {promotion.candidate.run.name} (run {promotion.candidate.run.run_id}) to {promotion.path}")
    show(promotion.evidence)
    if "test_accuracy" in facts:
        print(
            f"Test accuracy of the file {facts['test_accuracy']:.4f} "
            f"(95 % interval {facts['test_accuracy_low']:.3f} to {facts['test_accuracy_high']:.3f}), "
            f"{promotion.evidence.file_bytes:,} bytes, {promotion.seconds:.1f} s"
        )
    if not dry_run:
        print(f"Alias champion on version {facts['version']} of {facts['registered_model']}.")


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
