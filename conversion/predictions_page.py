"""The answers of a Core ML file as one page that needs no network: pictures by confidence, filtered by label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conversion.predictions import Answer, Predictions
from experiments.views.page import html_page, picture, save
from experiments.views.tables import html_table, html_text

MOST = 2_000  # pictures on a page: the least confident, mistakes before all others
SIDE = 96  # pixels of a picture at most
WORDS = frozenset({"true\\predicted"})
FILTER = """
<script>
const gallery = document.getElementById("gallery"), shown = document.getElementById("shown");
const inputs = ["label", "wrong", "order"].map((id) => document.getElementById(id));
function update() {
  const [label, wrong, order] = inputs.map((input) => (input.type === "checkbox" ? input.checked : input.value));
  const figures = [...gallery.children];
  figures.sort((a, b) => (order === "up" ? 1 : -1) * (a.dataset.confidence - b.dataset.confidence));
  let count = 0;
  for (const figure of figures) {
    const fits = (label === "" || figure.dataset.label === label) && (!wrong || "wrong" in figure.dataset);
    figure.hidden = !fits;
    count += fits;
    gallery.append(figure);
  }
  shown.textContent = count;
}
for (const input of inputs) input.addEventListener("change", update);
update();
</script>
<style>figure[hidden] { display: none; } figure[data-wrong] figcaption { color: #c53030; }</style>
"""


def write_page(found: Predictions, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save(_page(found), path)


def _page(found: Predictions) -> str:
    parts = [f"<p>{len(found.answers):,} pictures, {found.form.fit}, on {html_text(found.form.background)}.</p>"]
    if found.threshold:
        parts.append(
            f"<p>&ldquo;I do not know&rdquo;, with a confidence below {found.threshold:.4f}: "
            f"{len(found.unknown):,}.</p>"
        )
    parts += [f"<p class='note'>{html_text(note)}</p>" for note in (*found.notes, *found.unread)]
    worth = found.evaluation
    if worth:
        parts.append(
            f"<p><b>{worth.correct:,} of {worth.images:,} right: accuracy {worth.accuracy:.4f}</b>, 95 % interval "
            f"{worth.accuracy_low:.4f} to {worth.accuracy_high:.4f}</p>"
        )
        names = [each.name for each in worth.classes]
        rows = zip(names, worth.confusion_matrix, strict=True)
        lines = [[name, *(f"{count:,}" for count in row)] for name, row in rows]
        parts.append("<h2>Confusion</h2>" + html_table(["true\\predicted", *names], lines, words=WORDS))
    wrong = {id(answer) for answer in found.mistakes}
    chosen = sorted(found.answers, key=lambda answer: (id(answer) not in wrong, answer.top[0][1]))[:MOST]
    counts = {label: sum(answer.label == label for answer in chosen) for label in found.labels}
    numbers = {label: str(number) for number, label in enumerate(found.labels)}
    options = "".join(
        f"<option value='{numbers[label]}'>{html_text(label)} ({count:,})</option>"
        for label, count in counts.items()
        if count
    )
    parts.append(
        "<h2>Pictures</h2><p><label>answered <select id='label'><option value=''>any</option>"
        f"{options}</select></label> <label><select id='order'><option value='up'>least confident first</option>"
        "<option value='down'>most confident first</option></select></label> "
        "<label><input id='wrong' type='checkbox'> mistakes only</label> <span id='shown'></span> shown</p>"
    )
    if len(chosen) < len(found.answers):
        parts.append(f"<p class='note'>The {MOST:,} least confident ones, mistakes before all others.</p>")
    figures = "".join(_figure(answer, found, numbers, is_wrong=id(answer) in wrong) for answer in chosen)
    parts += [f"<div id='gallery'>{figures}</div>", FILTER]
    return html_page(Path(found.file).name, parts)


def _figure(answer: Answer, found: Predictions, numbers: dict[str, str], *, is_wrong: bool) -> str:
    image = np.atleast_3d(answer.picture.read())
    told = "".join(f"<br>{html_text(label)} {probability:.3f}" for label, probability in answer.top)
    truth = f", not {html_text(str(found.truth_of(answer)))}" if is_wrong else ""
    confidence = answer.top[0][1]
    marks = f"data-label='{numbers[answer.label]}' data-confidence='{confidence:.6f}'{' data-wrong' * is_wrong}"
    caption = f"<figcaption>{html_text(answer.picture.name)}{truth}{told}</figcaption>"
    return f"<figure {marks}>{picture(image, SIDE)}{caption}</figure>"
