"""The evidence of a promotion as files: `promotion.json` for programs and `promotion.html` for people."""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.evaluation import accuracy_interval, draw_confusion_matrix

if TYPE_CHECKING:
    from conversion.candidate import Candidate
    from conversion.verify import Evidence

SCHEMA_VERSION = 1

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Promotion of {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
td, th {{ padding: .3rem .8rem; text-align: left; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums; }}
img {{ max-width: 26rem; background: #fff; }}
.ok {{ color: #18794e; }} .fail {{ color: #c62a2f; font-weight: 600; }}
</style>
<h1>{verdict}</h1>
{reasons}
<h2>What</h2>{what}
<h2>Executed on Linux against the Keras model</h2>{parity}
<h2>Structure</h2>{checks}
<h2>Confusion on the test images</h2>{confusion}
</html>
"""


def summary(candidate: Candidate, evidence: Evidence, reasons: tuple[str, ...]) -> dict[str, object]:
    """The evidence as one JSON-ready object; every figure's unit is in its name, accuracies are shares of 1."""
    result: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "decision": "refused" if reasons else "promoted",
        "reasons": list(reasons),
        "run_id": candidate.run.run_id,
        "study": candidate.facts.study or None,
        "architecture": candidate.facts.architecture,
        "dataset": candidate.facts.dataset,
        "dataset_digest": candidate.facts.dataset_digest,
        "git_commit": candidate.facts.git_commit,
        "coreml_format": evidence.format,
        "compression": "none",
        "coreml_bytes": evidence.file_bytes,
        "coreml_sha256": evidence.file_sha256,
        "checks": [asdict(check) for check in evidence.checks],
        "parity": [asdict(parity) for parity in evidence.parity],
    }
    if evidence.parity:
        test = evidence.on("test")
        low, high = accuracy_interval(round(test.file_accuracy * test.images), test.images)
        result |= {
            "val_accuracy": evidence.on("val").file_accuracy,
            "test_accuracy": test.file_accuracy,
            "test_accuracy_low": low,
            "test_accuracy_high": high,
        }
    return result


def write_evidence(folder: Path, candidate: Candidate, evidence: Evidence, reasons: tuple[str, ...]) -> None:
    """Write `promotion.json` and a self-contained `promotion.html` into a folder."""
    facts = summary(candidate, evidence, reasons)
    (folder / "promotion.json").write_text(json.dumps(facts, indent=2))
    shown = {key: value for key, value in facts.items() if key not in {"checks", "parity", "reasons", "schema_version"}}
    parity = [
        [
            part.split,
            f"{part.images:,}",
            f"{part.file_accuracy:.4f}",
            f"{part.model_accuracy:.4f}",
            f"{part.max_difference:.1e}",
            f"{part.mean_difference:.1e}",
            str(part.label_flips),
        ]
        for part in evidence.parity
    ]
    checks = [
        [f'<span class="{"ok" if c.passed else "fail"}">{"ok" if c.passed else "differs"}</span>']
        + [escape(text if len(text) <= 60 else text[:57] + "...") for text in (c.name, c.expected, c.found)]
        for c in evidence.checks
    ]
    (folder / "promotion.html").write_text(
        PAGE.format(
            title=escape(candidate.run.name),
            verdict=f"{escape(candidate.run.name)}: {'refused' if reasons else 'promoted'}",
            reasons="<ul>" + "".join(f'<li class="fail">{escape(reason)}</li>' for reason in reasons) + "</ul>",
            what=_table([], [[escape(key), escape(_shown(value))] for key, value in shown.items()]),
            parity=_table(
                [
                    "split",
                    "images",
                    "accuracy of the file",
                    "of the model",
                    "largest difference",
                    "mean",
                    "label flips",
                ],
                parity,
            ),
            checks=_table(["", "property", "expected", "found"], checks),
            confusion=_confusion(candidate, evidence),
        )
    )


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(head: list[str], body: list[list[str]]) -> str:
    titles = "".join(f"<th>{name}</th>" for name in head)
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><tr>{titles}</tr>{rows}</table>"


def _confusion(candidate: Candidate, evidence: Evidence) -> str:
    if not evidence.test_predictions:
        return "<p>Not executed on any image.</p>"
    from sklearn.metrics import confusion_matrix

    names = candidate.dataset.class_names
    matrix = confusion_matrix(candidate.dataset.test.labels, evidence.test_predictions, labels=list(range(len(names))))
    with tempfile.TemporaryDirectory(prefix="pocketnets-") as folder:
        picture = Path(folder) / "confusion.png"
        draw_confusion_matrix(matrix, names, picture, what="test")
        data = base64.b64encode(picture.read_bytes()).decode()
    return f'<img alt="Confusion matrix on the test images" src="data:image/png;base64,{data}">'
