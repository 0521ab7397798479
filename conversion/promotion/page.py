"""The evidence of a promotion as one page that needs nothing else: no script, no request, pictures inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from architectures.command import finite
from architectures.scratch import scratch_folder
from conversion.promotion.compression_search import Choice, draw, write_choice
from conversion.promotion.evaluation_page import NOT_EXECUTED, calibration, classes, looked, mistakes, unknown
from conversion.promotion.gallery import draw_flips
from conversion.promotion.gate import Criterion
from conversion.promotion.page_tables import strong, table
from conversion.promotion.preference import Preference
from conversion.promotion.report import Examination, summary
from conversion.verification.evidence import Evidence
from conversion.verification.parity import LEAST_ALLOWANCE, ROUNDINGS
from experiments.evaluation.labels import told_apart
from experiments.views.tables import html_text

LONGEST = 80  # characters of a value in the table of properties

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --soft: light-dark(#5c6470, #a3acb8);
  --good: light-dark(#18794e, #4cc38a); --bad: light-dark(#c62a2f, #ff8589); }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#fff, #16181c); color: light-dark(#1b1f24, #e6e8eb); }}
h1 {{ font-size: 1.5rem; margin: 0; }} h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .4rem; }}
p {{ margin: .3rem 0; }} .soft {{ color: var(--soft); }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th {{ font-weight: 600; font-size: .85rem; color: var(--soft); }}
td, th {{ padding: .35rem .9rem .35rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; overflow-wrap: break-word; }}
td b, td span {{ white-space: nowrap; }} td.figure, th.figure {{ text-align: right; white-space: nowrap; }}
.key {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }}
.key div {{ border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; }}
.key b {{ display: block; font-size: 1.35rem; }} .key span {{ color: var(--soft); font-size: .85rem; }}
.matrix {{ width: auto; }}
.matrix td, .matrix th {{ text-align: center; padding: .3rem .5rem; min-width: 2rem; border: 0; }}
.matrix td {{ background: color-mix(in srgb, light-dark(#7db4ee, #2b62a8) var(--share), transparent); }}
img {{ max-width: 100%; background: #fff; border-radius: 8px; }}
img.chart {{ width: 46rem; }}
.sides {{ display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: start; }} .sides .wide {{ flex: 1 1 20rem; }}
.curve {{ width: 20rem; max-width: 100%; fill: var(--soft); font-size: 13px; }}
.curve .bars {{ fill: light-dark(#7db4ee, #2b62a8); opacity: .45; }}
.curve circle {{ fill: light-dark(#1d6fc4, #6fb1f5); }}
.curve .frame, .curve .ideal {{ fill: none; stroke: var(--soft); }} .curve .ideal {{ stroke-dasharray: 5 4; }}
.curve polyline {{ fill: none; stroke: light-dark(#1d6fc4, #6fb1f5); stroke-width: 2; }}
.mistakes {{ display: flex; flex-wrap: wrap; gap: 1rem; }} figure {{ margin: 0; width: 8rem; }}
figure img {{ image-rendering: pixelated; border-radius: 0; }}
figcaption {{ font-size: .8rem; overflow-wrap: anywhere; }}
.passed {{ color: var(--good); }} .failed {{ color: var(--bad); font-weight: 600; }}
</style></head><body>
<h1>{title}</h1>
{verdict}
<div class="key">{key}</div>
<h2>Gate</h2>{gate}
{compression}
<h2>What, and where it comes from</h2>{origin}
<h2>Executed here, against its model</h2>{parity}
<h2>On the test images</h2>{looked}
<h2>I do not know</h2>{unknown}
<h2>Confusion</h2>{confusion}
<h2>Precision and recall</h2>{classes}
<h2>Calibration</h2>{calibration}
<h2>Most confident mistakes</h2>{mistakes}
<h2>Properties read from the file</h2>{checks}
</body></html>
"""


def write_evidence(folder: Path, examination: Examination) -> Mapping[str, object]:
    """Write `promotion.json` and a self-contained `promotion.html` into a folder, and return what the former holds."""
    facts = summary(examination)
    (folder / "promotion.json").write_text(json.dumps(finite(facts), indent=2, allow_nan=False), encoding="utf-8")
    (folder / "promotion.html").write_text(page(examination, facts), encoding="utf-8")
    if examination.choice:
        write_choice(examination.choice, folder)
    return facts


def page(examination: Examination, facts: Mapping[str, Any]) -> str:
    """The page of an examination whose `summary` is `facts`."""
    decision, evidence = examination.decision, examination.evidence
    test = evidence.test_evaluation
    verdict = {
        "promoted": '<p class="passed">Promoted: every criterion was met.</p>',
        "forced": f'<p class="failed">Promoted by force: {html_text(str(decision.forced_reason))}</p>',
        "refused": '<p class="failed">Refused: nothing was changed.</p>',
    }[decision.outcome]
    return PAGE.format(
        title=f"{html_text(examination.candidate.run.name)} as a Core ML file",
        verdict=verdict,
        key=_key_figures(facts),
        gate=table(
            ("criterion", "verdict", "finding"),
            [(strong(each.name), _verdict(each), html_text(each.finding)) for each in decision.criteria],
        ),
        compression=_compression(examination.choice),
        origin=_origin(facts, examination.candidate.preference),
        parity=_parity(examination),
        confusion=_confusion(facts["class_names"], facts["confusion_matrix"]),
        looked=looked(evidence.test_look),
        unknown=unknown(evidence.threshold, evidence.refusals),
        classes=classes(test),
        calibration=calibration(test),
        mistakes=mistakes(test, examination.candidate.split("test").images, facts["class_names"])
        if test
        else NOT_EXECUTED,
        checks=_checks(evidence),
    )


def _key_figures(facts: Mapping[str, Any]) -> str:
    shown = [(f"{facts['coreml_bytes']:,} bytes", f"{facts['coreml_format']}, compression {facts['compression']}")]
    if "test_accuracy" in facts:
        interval = f"{facts['test_accuracy_low']:.3f} to {facts['test_accuracy_high']:.3f}"
        accuracy = f"accuracy on {facts['test_images']:,} test images, 95 % in {interval}"
        shown.append((f"{facts['test_accuracy']:.4f}", accuracy))
    if "val_accuracy" in facts:
        model = f"on validation images; the model {facts['model_val_accuracy']:.4f}"
        shown.append((f"{facts['val_accuracy']:.4f}", model))
    return "".join(f"<div><b>{html_text(value)}</b><span>{html_text(name)}</span></div>" for value, name in shown)


def _compression(choice: Choice | None) -> str:
    if choice is None:
        return ""
    rows = []
    for each in sorted(choice.variants, key=lambda each: each.size_bytes or 0):
        file = f"{each.format} {each.compression}"
        size = f"{each.size_bytes:,}" if each.size_bytes else ""
        if each.val_accuracy is None:
            measured = ("not checkable", "", html_text(each.not_checkable or ""))
        else:
            measured = (f"{each.val_accuracy:.4f}", str(each.flips), f"{each.minimum_ios}+")
        rows.append(((strong(file) + " (taken)") if each.chosen else html_text(file), size, *measured))
    text = (
        f"Every file was executed on {choice.images:,} validation images. The smallest was taken that is at most "
        f"{choice.max_accuracy_loss:g} points below the uncompressed file of its format."
    )
    files = table(("file", "bytes", "accuracy", "labels that differ", "iOS"), rows, figures=range(1, 5))
    picture = _picture(draw(choice), "Bytes of each file against its validation accuracy", kind="chart")
    return f"<h2>Compression</h2><p>{text}</p>{files}<p>{picture}</p>"


def _origin(facts: Mapping[str, Any], preference: Preference | None) -> str:
    names = {
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
    rows = [(strong(title), html_text(str(facts[key]))) for key, title in names.items() if facts[key] is not None]
    if preference:
        rows.append((strong("the smallest that is as good"), html_text(preference.text)))
    return table((), rows) + f'<p class="soft">Without the date: {html_text(str(facts["reproducible_by"]))}.</p>'


def _parity(examination: Examination) -> str:
    evidence, dataset = examination.evidence, examination.candidate.dataset
    if not evidence.original:
        return NOT_EXECUTED
    rows, galleries = [], []
    for against, part in evidence.differences:
        figures = (f"{part.images:,}", f"{part.file_accuracy:.4f}", f"{part.model_accuracy:.4f}")
        allowed = "any" if part.allowance is None else f"{part.allowance:.1e}"
        differences = (f"{part.max_difference:.1e}", allowed, f"{part.mean_difference:.1e}", str(part.label_flips))
        rows.append((html_text(against), part.split, *figures, *differences))
        if part.flips:
            draw_part = partial(draw_flips, part, examination.candidate.split(part.split), dataset.class_names)
            galleries.append(_picture(_drawn(draw_part), f"{part.split} images that get another label, {against}"))
    head = ("executed", "split", "images", "file", "model", "largest difference", "allowed", "mean", "labels differ")
    rounding = max((part.rounding or 0 for part in evidence.parity), default=0)
    text = (
        "Accuracies of the executed file and of the model; differences of a probability. What is allowed is "
        f"{ROUNDINGS} times what float32 costs the model itself, at most {rounding:.1e} here, measured against "
        f"float64, and at least {LEAST_ALLOWANCE:.1e}. What compression costs is the difference to the uncompressed "
        "model."
    )
    weights = f"{len(evidence.weights)} weights of the model were found in the file, each as its compression leaves it."
    weights = weights if evidence.weights and all(not each.fault for each in evidence.weights) else ""
    apple = f"Apple's runtime: {html_text(evidence.native.status)}."
    return (
        table(head, rows, figures=range(2, 9))
        + f'<p class="soft">{text} {weights} {apple}</p>'
        + _arithmetic(evidence)
        + "".join(f"<p>{gallery}</p>" for gallery in galleries)
    )


def _arithmetic(evidence: Evidence) -> str:
    """What the file does in float32 beside what it does in float16."""
    if not evidence.half or not evidence.arithmetic_rows:
        return ""
    head, *rows = evidence.arithmetic_rows
    told = [(strong(name), *map(html_text, cells)) for name, *cells in rows]
    text = (
        "Against the model as it was trained, in float32. float16 is what a phone's Neural Engine computes in: a "
        "simulation, not Apple's runtime. Against float32 alone: "
    )
    return table(head, told) + f'<p class="soft">{text}{html_text(evidence.half.text)}.</p>'


def _checks(evidence: Evidence) -> str:
    rows = [
        (
            strong(check.name),
            '<span class="passed">ok</span>' if check.passed else '<span class="failed">differs</span>',
            _short(check.expected),
            "the same" if check.passed else _short(check.found),
        )
        for check in evidence.checks
    ]
    return table(("property", "", "expected", "found"), rows)


def _confusion(class_names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """A shaded table: drawing it would cost as much time as converting the model."""
    if not matrix:
        return NOT_EXECUTED
    names = [html_text(name) for name in told_apart(class_names)]
    rows = []
    for name, counts in zip(names, matrix, strict=True):
        total = max(1, sum(counts))
        cells = (f'<td style="--share: {count / total:.0%}">{count or "·"}</td>' for count in counts)
        rows.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        '<p class="soft">A row per true class, a column per answer of the file; images.</p>'
        f'<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
    )


def _drawn(draw: Callable[[Path], object]) -> bytes:
    """The picture that a function writes to a path."""
    with scratch_folder() as folder:
        path = folder / "picture.png"
        draw(path)
        return path.read_bytes()


def _picture(png: bytes, text: str, *, kind: str = "") -> str:
    data = base64.b64encode(png).decode()
    return f'<img class="{kind}" alt="{html_text(text)}" src="data:image/png;base64,{data}">'


def _short(text: str) -> str:
    return html_text(text if len(text) <= LONGEST else text[: LONGEST - 3] + "...")


def _verdict(criterion: Criterion) -> str:
    style = "failed" if criterion.refuses else "passed" if criterion.verdict == "passed" else ""
    return f'<span class="{style}">{criterion.verdict}</span>'
