"""The evidence of a promotion as a self-contained page: no scripts, no requests, embedded images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from architectures.command import finite
from architectures.scratch import scratch_folder
from conversion.promotion.compression_search import draw_choice, write_choice
from conversion.promotion.gallery import draw_flips
from conversion.promotion.report import Examination, summary
from conversion.verification.parity import LEAST_ALLOWANCE, ROUNDINGS
from conversion.verification.threshold import REFUSED_SHARE, THRESHOLD_DIGITS
from experiments.evaluation.labels import told_apart
from experiments.evaluation.metrics import mistakes_title
from experiments.views.page import data_uri, render, run_link

ORIGIN = {
    "run_id": "MLflow run",
    "study": "study",
    "architecture": "architecture",
    "dataset": "data set",
    "dataset_digest": "digest of the data",
    "git_commit": "code",
    "created_at": "decided at (UTC)",
    "coreml_sha256": "SHA-256 of the file",
    "coreml_reproducible_sha256": "SHA-256 without the date",
}


def write_evidence(folder: Path, examination: Examination, tracking_uri: str) -> Mapping[str, object]:
    """Write `promotion.json` and `promotion.html` into a folder; return the contents of the former."""
    facts = summary(examination)
    (folder / "promotion.json").write_text(json.dumps(finite(facts), indent=2, allow_nan=False), encoding="utf-8")
    (folder / "promotion.html").write_text(page(examination, facts, tracking_uri), encoding="utf-8")
    if examination.choice:
        write_choice(examination.choice, folder)
    return facts


def page(examination: Examination, facts: Mapping[str, Any], tracking_uri: str) -> str:
    """Return the page of an examination; `facts` is its `summary`."""
    evidence, candidate, choice = examination.evidence, examination.candidate, examination.choice
    test = evidence.test_evaluation
    origin = [(title, facts[key]) for key, title in ORIGIN.items() if facts[key] is not None]
    if candidate.preference:
        origin.append(("the smallest that is as good", candidate.preference.text))
    weights_found = len(evidence.weights) if all(not each.fault for each in evidence.weights) else 0
    return render(
        "promotion",
        title=f"{candidate.run.name} as a Core ML file",
        decision=examination.decision,
        key_figures=_key_figures(facts),
        run_link=run_link(facts["run_id"], tracking_uri),
        choice=choice,
        variants=sorted(choice.variants, key=lambda each: each.size_bytes or 0) if choice else (),
        compression_chart=data_uri(draw_choice(choice)) if choice else "",
        names=told_apart(facts["class_names"]),
        matrix=facts["confusion_matrix"],
        test=test,
        images=candidate.split("test").images if test else (),
        mistakes_title=mistakes_title(test, "test") if test else "",
        threshold=evidence.threshold,
        threshold_digits=THRESHOLD_DIGITS,
        refusals=evidence.refusals,
        refused_share=REFUSED_SHARE,
        look=evidence.test_look,
        earlier=[(str(one.number), one.command, one.at, one.run_id) for one in reversed(evidence.test_look.earlier)]
        if evidence.test_look
        else (),
        differences=evidence.differences if evidence.original else (),
        roundings=ROUNDINGS,
        rounding=max((part.rounding or 0 for part in evidence.parity), default=0),
        least_allowance=LEAST_ALLOWANCE,
        weights_found=weights_found,
        native=evidence.native.status,
        arithmetic=evidence.arithmetic_rows if evidence.half else (),
        half=evidence.half.text if evidence.half else "",
        galleries=_galleries(examination),
        origin=origin,
        reproducible_by=facts["reproducible_by"],
        checks=evidence.checks,
        faults=sum(not each.passed for each in evidence.checks),
    )


def _key_figures(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    shown = [(f"{facts['coreml_bytes']:,} bytes", f"{facts['coreml_format']}, compression {facts['compression']}")]
    if "test_accuracy" in facts:
        interval = f"{facts['test_accuracy_low']:.3f} to {facts['test_accuracy_high']:.3f}"
        accuracy = f"accuracy on {facts['test_images']:,} test images, 95 % in {interval}"
        shown.append((f"{facts['test_accuracy']:.4f}", accuracy))
    if "expected_accuracy" in facts:
        interval = f"{facts['expected_accuracy_low']:.3f} to {facts['expected_accuracy_high']:.3f}"
        said = f"expected on new images by its sweep, corrected for choosing the best of many, 95 % in {interval}"
        shown.append((f"{facts['expected_accuracy']:.4f}", said))
    if "val_accuracy" in facts:
        model = f"on validation images; the model {facts['model_val_accuracy']:.4f}"
        shown.append((f"{facts['val_accuracy']:.4f}", model))
    return shown


def _galleries(examination: Examination) -> list[tuple[str, str]]:
    """Draw the images whose label differs, with captions."""
    evidence, candidate = examination.evidence, examination.candidate
    names = candidate.dataset.class_names
    return [
        (
            f"{part.split} images that get another label, {against}",
            data_uri(_drawn(partial(draw_flips, part, candidate.split(part.split), names))),
        )
        for against, part in (evidence.differences if evidence.original else ())
        if part.flips
    ]


def _drawn(draw: Callable[[Path], object]) -> bytes:
    """Return the image that `draw` writes to a path."""
    with scratch_folder() as folder:
        path = folder / "picture.png"
        draw(path)
        return path.read_bytes()
