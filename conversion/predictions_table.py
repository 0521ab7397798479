"""Print predictions: a table of the answers, and how many are right where the labels are known."""

from __future__ import annotations

from collections.abc import Sequence

from architectures.display import say
from conversion.predictions import Predictions
from experiments.views.tables import print_cells

SHOWN = 50  # pictures and mistakes in the terminal; --json, --csv and --html have more
MOST_CROSSED = 20  # classes whose confusion matrix is printed
TEXT_COLUMNS = frozenset({"picture", "truth", "label", "second", "true\\predicted"})


def show(found: Predictions) -> None:
    """Print the answers and, if the labels are known, how many are right."""
    several = len(found.answers) > SHOWN
    if not found.evaluation or not several:
        titles = ["picture", "truth", "label", "probability", "second", "probability"]
        lines = [
            [answer.picture.name, found.truth_of(answer) or "", *_told(answer.top[:2])]
            for answer in found.answers[:SHOWN]
        ]
        print_cells(titles, lines, words=TEXT_COLUMNS)
        if several:
            say(f"and {len(found.answers) - SHOWN:,} more: --csv, --json and --html have them")
    if found.evaluation:
        _show_evaluation(found)
    if found.threshold:
        say(
            f'"I do not know", with a confidence below {found.threshold:.4f}: '
            f"{len(found.unknown):,} of {len(found.answers):,}"
        )
    if found.half:
        say(found.half.text)


def _told(top: Sequence[tuple[str, float]]) -> list[str]:
    cells = [text for label, probability in top for text in (label, f"{probability:.4f}")]
    return (cells + [""] * 4)[:4]


def _show_evaluation(found: Predictions) -> None:
    worth = found.evaluation
    assert worth
    names = [each.name for each in worth.classes]
    if len(names) <= MOST_CROSSED:
        rows = zip(names, worth.confusion_matrix, strict=True)
        print_cells(
            ["true\\predicted", *names], [[name, *(f"{n:,}" for n in row)] for name, row in rows], words=TEXT_COLUMNS
        )
    if found.mistakes:
        lines = [
            [answer.picture.name, found.truth_of(answer) or "", *_told(answer.top[:1])[:2]]
            for answer in found.mistakes[:SHOWN]
        ]
        print_cells(
            ["picture", "truth", "label", "probability"],
            lines,
            words=TEXT_COLUMNS,
            title="Mistakes, most confident first",
        )
        if len(found.mistakes) > SHOWN:
            say(f"and {len(found.mistakes) - SHOWN:,} more: --csv, --json and --html have them")
    say(
        f"{worth.correct:,} of {worth.images:,} right: accuracy {worth.accuracy:.4f}, 95 % interval "
        f"{worth.accuracy_low:.4f} to {worth.accuracy_high:.4f}"
    )
