"""Print the result of a promotion."""

from __future__ import annotations

import sys

from rich.markup import escape
from rich.table import Table

from architectures.command import console, print_json
from architectures.display import say
from conversion.promotion.compression_search import CompressionChoice
from conversion.promotion.in_place import InPlace
from conversion.promotion.pipeline import Promotion
from conversion.verification.show import show


def show_promotion(promotion: Promotion, *, verbose: bool) -> None:
    """Print the decision, the place and accuracy of the file, and what the decision was based on.

    Unless `verbose`, checks that passed are only counted.
    """
    examination, facts = promotion.examination, promotion.as_json()
    outcome, model = examination.decision.outcome, f"{facts['run']} (run {facts['run_id']})"
    if outcome == "refused":
        say(f"Not promoted: {model}; {promotion.path} is unchanged.")
    else:
        verb = "Promoted" if promotion.record else "Would promote"
        say(f"{verb}{' by force' if outcome == 'forced' else ''} {model} to {promotion.path}")
    if "test_accuracy" in facts:
        say(
            f"Test accuracy of the file {facts['test_accuracy']:.4f} "
            f"(95 % interval {facts['test_accuracy_low']:.3f} to {facts['test_accuracy_high']:.3f}), "
            f"{facts['coreml_bytes']:,} bytes, {promotion.seconds:.1f} s"
        )
    if examination.candidate.preference:
        say(f"--prefer smallest takes {examination.candidate.preference.text}.")
    if examination.choice:
        show_choice(examination.choice)
    show(examination.evidence, verbose=verbose)
    for criterion in examination.decision.criteria:
        sign = "ok  " if criterion.verdict == "passed" else "FAIL" if criterion.refuses else "-   "
        say(f"  {sign} {criterion.name}: {criterion.finding}")
    if promotion.record:
        say(
            f"Alias champion on version {facts['version']} of {facts['registered_model']}, "
            f"and on promotion {facts['promotion']} in {facts['promotion_model']}."
        )
    if promotion.page:
        say(f"Page: {promotion.page}")


def show_check(found: InPlace, *, as_json: bool) -> int:
    """Print whether the file in its place is the champion's; return the exit code."""
    if as_json:
        print_json(found.as_json())
    elif not found.problems:
        say(f"{found.path} is the file of promotion {found.promotion}, the champion of {found.registered_name}.")
    for problem in found.problems:
        say(f"error: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


def show_choice(choice: CompressionChoice) -> None:
    """Print the table of all files on stdout, the smallest first."""
    table = Table(
        title=f"Executed on {choice.images:,} validation images; "
        f"at most {choice.max_accuracy_loss:g} points below the uncompressed file",
        title_justify="left",
    )
    for name, justify in (
        ("", "left"),
        ("format", "left"),
        ("compression", "left"),
        ("bytes", "right"),
        ("accuracy", "right"),
        ("flips", "right"),
        ("iOS", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for variant in sorted(choice.variants, key=lambda variant: variant.size_bytes or 0):
        measured = (
            (f"{variant.val_accuracy:.4f}", str(variant.flips), f"{variant.minimum_ios}+")
            if variant.val_accuracy is not None
            else (f"not checkable: {escape(variant.not_checkable or '')}", "", "")
        )
        table.add_row(
            "->" if variant.chosen else "",
            variant.format,
            variant.compression,
            f"{variant.size_bytes:,}" if variant.size_bytes else "",
            *measured,
            style="bold" if variant.chosen else None,
        )
    console().print(table)
