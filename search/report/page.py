"""A study's report on its parent run: a page with the leaderboard and all figures, and each figure on its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from architectures.scratch import scratch_folder
from conversion.promotion.config import DEFAULT_MODEL
from experiments.attempts import Attempts
from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.objective import SHORT, SPELLED_OUT
from experiments.tracking import NOT_DRAWN, Selection, Tracker
from experiments.views import leaderboard, leaderboard_table
from experiments.views.leaderboard import Row
from experiments.views.page import render, run_link
from search.config import SweepConfig
from search.report import significance
from search.report.figures import Figure, draw_figures
from search.report.significance import ArchitectureComparison, Replicated, compare_architectures
from search.study.results import counted
from search.study.study import Study

FOLDER = "study"  # among the parent run's artifacts
REPORT = f"{FOLDER}/report.html"
ROWS = 25  # of the leaderboard on the page


def write_report(
    study: Study,
    tracker: Tracker,
    parent_run_id: str,
    board: list[Row],
    *,
    expected: ExpectedAccuracy | None,
    compared: Sequence[ArchitectureComparison],
    left_out: Sequence[str],
    attempts: Attempts,
) -> bool:
    """Write `report.html`, each figure as a page and a PNG, and the leaderboard to the parent run's artifacts.

    What cannot be made is left out, and named on the page and in the parent run's tag `not_drawn`. If no files can be
    written at all, only the tag is.

    Args:
        tracker: of the store with the parent run.
        board: the study's rows, the best first.
        expected: the expected accuracy of the best, if known.
        left_out: names of architectures that could not be compared.
        attempts: what could not be made for the report so far; the rest is added.

    Returns:
        Whether there are files.

    Raises:
        TrackingError: if MLflow does not accept them.
    """
    written = False
    with attempts.part("files"), scratch_folder() as folder:
        figures: list[Figure] = []
        with attempts.part("leaderboard"):
            _write_leaderboard(folder, board)
        with attempts.part("figures"):
            figures = draw_figures(study.optuna_study) if study.config.figures else []
        for figure in figures:
            if figure.failed:
                attempts.reasons[figure.name] = figure.reason
            if figure.page is not None:
                with attempts.part(f"{figure.name}.html"):
                    page = render("figure", title=figure.title, note=figure.note, drawn=figure.page)
                    (folder / f"{figure.name}.html").write_text(page, encoding="utf-8")
                    (folder / f"{figure.name}.png").write_bytes(figure.png)
        trials: dict[str, str] = {}
        with attempts.part("evaluations"):  # a run may have been deleted by hand
            trials = _trials_not_drawn(study, tracker)
        file = folder / "report.html"
        with attempts.part("report.html", file):
            page = _page(study, board, expected, compared, left_out, figures, {**attempts.reasons, **trials})
            file.write_text(page, encoding="utf-8")
        if not file.exists():
            page = render("not_drawn", title=f"Study {study.name}", not_drawn={**attempts.reasons, **trials})
            file.write_text(page, encoding="utf-8")
        attempts.write(folder)
        tracker.writer.log_files(parent_run_id, folder, FOLDER)
        written = True
    tracker.writer.tag_not_drawn(parent_run_id, str(attempts), FOLDER)
    return written


def _trials_not_drawn(study: Study, tracker: Tracker) -> dict[str, str]:
    """Return what the evaluations of kept models lack, by trial."""
    runs = {number: tracker.runs.get(run_id) for number, run_id in study.results.kept().items()}
    return {f"trial {number}": run.tags[NOT_DRAWN] for number, run in runs.items() if NOT_DRAWN in run.tags}


def _write_leaderboard(folder: Path, board: list[Row]) -> None:
    rows = ",\n".join(json.dumps(row) for row in leaderboard_table.as_json(board))
    (folder / "leaderboard.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    with (folder / "leaderboard.csv").open("w", newline="", encoding="utf-8") as file:
        leaderboard_table.write_csv(board, file)


def _page(
    study: Study,
    board: list[Row],
    expected: ExpectedAccuracy | None,
    compared: Sequence[ArchitectureComparison],
    left_out: Sequence[str],
    figures: Sequence[Figure],
    lacking: Mapping[str, str],
) -> str:
    """Return the whole report."""
    config, best = study.config, board[0] if board else None
    what = f"{config.dataset}, {config.epochs} epochs at most, objective {', '.join(config.objectives)}"
    if config.max_coreml_bytes:
        what += f", files of at most {config.max_coreml_bytes:,} bytes"
    titles, rows = leaderboard_table.cells(board[:ROWS], without=("study", "run id"))
    return render(
        "report",
        title=f"Study {study.name}",
        best=best,
        best_link=run_link(best.run_id, config.tracking_uri) if best else None,
        figures_of_the_best=_key_figures(board, expected),
        next_step=_next_step(study, best),
        what=what,
        counts=counted(study.results.counts()),
        study_link=run_link(study.parent_run_id, config.tracking_uri),
        titles=titles,
        board=rows,
        board_links=[run_link(row.run_id, config.tracking_uri) for row in board[:ROWS]],
        front=leaderboard_table.front_of(board),
        left_over=max(0, len(board) - ROWS),
        compared_titles=significance.titles(config.objective),
        compared=significance.cells(compared),
        left_out=significance.left_out_note(left_out) if left_out else "",
        has_figures=config.figures,
        drawn=figures,
        not_drawn=lacking,
    )


def _key_figures(board: Sequence[Row], expected: ExpectedAccuracy | None) -> list[tuple[str, str]]:
    """Return the figures of the best network, and of the smallest one on the front."""
    if not board:
        return []
    best, smallest = board[0], min((row for row in board if row.pareto), key=lambda row: row.coreml_bytes, default=None)
    shown = []
    if (value := getattr(best, best.objective)) is not None:
        interval = ""
        if (
            best.objective == "val_accuracy"
            and best.val_accuracy_low is not None
            and best.val_accuracy_high is not None
        ):
            interval = f", 95 % in {best.val_accuracy_low:.3f} to {best.val_accuracy_high:.3f}"
        shown.append((f"{value:.4f}", f"validation {SPELLED_OUT[best.objective]}{interval}"))
    if expected:
        low, high = expected.expected_accuracy_low, expected.expected_accuracy_high
        said = f"expected on new images, corrected for choosing the best of many, 95 % in {low:.3f} to {high:.3f}"
        shown.append((f"{expected.expected_accuracy:.4f}", said))
    shown.append((f"{best.coreml_bytes:,} bytes", "of its Core ML file"))
    if smallest and smallest is not best and (reached := getattr(smallest, best.objective)) is not None:
        shown.append(
            (
                f"{smallest.coreml_bytes:,} bytes",
                f"the smallest on the front, {smallest.run}: {SHORT[best.objective]} {reached:.4f}",
            )
        )
    return shown


def _next_step(study: Study, best: Row | None) -> str:
    """Return the command that the reader probably wants next."""
    if best is None:
        return f"python -m search.sweep --study {quote(study.name)} --trials {study.config.trials + 12}"
    other = study.config.registered_name
    return "python -m conversion.promote" + ("" if other == DEFAULT_MODEL else f" --model {quote(other)}")


def replicated(study: Study) -> list[Replicated]:
    """Return the trials of a study that were trained with further seeds."""
    trials = study.optuna_study.get_trials(deepcopy=False)
    return [
        Replicated(number, trials[number].params["architecture"], by_seed, study.config.objective)
        for number, by_seed in study.results.replicated().items()
    ]


def compared_architectures(study: Study) -> tuple[Sequence[ArchitectureComparison], Sequence[str]]:
    """Compare architectures by replicates of their best configurations; also return those without any."""
    found = replicated(study)
    return compare_architectures(found), significance.not_compared(study.config.architectures, found)


def selection_of(config: SweepConfig) -> Selection:
    """Return the selection of a study's runs, with its ranking and front."""
    costs = config.objectives[1:]
    return Selection(config.experiment_name, config.study, objective=config.objective, costs=costs or Selection.costs)


def report_again(study: Study, tracker: Tracker) -> str:
    """Rewrite a study's report; return what could not be made and why, empty if everything was.

    Raises:
        TrackingError: if MLflow does not accept it.
    """
    compared: Sequence[ArchitectureComparison] = ()
    left_out: Sequence[str] = ()
    board: list[Row] = []
    expected: ExpectedAccuracy | None = None
    attempts = Attempts()
    with attempts.part("comparison"):
        compared, left_out = compared_architectures(study)
    with attempts.part("leaderboard"):
        board = leaderboard.rows(tracker, selection_of(study.config))
        if board:
            expected = tracker.parents.expected_accuracy(study.parent_run_id, board[0].run_id)
    write_report(
        study,
        tracker,
        study.parent_run_id,
        board,
        expected=expected,
        compared=compared,
        left_out=left_out,
        attempts=attempts,
    )
    return str(attempts)
