"""A page with figures of Plotly that needs nothing beside it: MLflow shows each file alone, without an origin."""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from architectures.scratch import scratch_beside
from experiments.datasets.viewed import viewed
from experiments.views.tables import STYLE, html_text

if TYPE_CHECKING:
    import numpy as np

# Each figure stands as JSON behind its place, which it fills from side to side. Without being told not to, plotly.js
# offers a button that sends the figure to its makers' server.
DRAW = """
const packed = Uint8Array.from(atob(PLOTLY), (sign) => sign.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const library = document.createElement("script");
library.textContent = await new Response(unpacked).text();
document.head.append(library);
for (const place of document.querySelectorAll(".figure")) {
  const { data, layout } = JSON.parse(place.nextElementSibling.textContent);
  Plotly.newPlot(place, data, layout, { responsive: true, showSendToCloud: false });
}
"""


def html_page(title: str, parts: Sequence[Any]) -> str:
    """A whole page, of 2 MB where it holds a figure.

    Args:
        title: also its heading.
        parts: in order, HTML as texts and figures as plotly.graph_objects.Figure.
    """
    drawn = [part if isinstance(part, str) else _figure(part) for part in parts]
    if any(not isinstance(part, str) for part in parts):
        drawn.append(f"<script type='module'>const PLOTLY = '{_plotly()}';{DRAW}</script>")
    head = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{html_text(title)}</title>"
    )
    style = f"<style>{STYLE}</style></head><body><h1>{html_text(title)}</h1>"
    return "".join([head, style, *drawn, "</body></html>\n"])


def save(page: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
            path.write_text(page, encoding="utf-8")
            return
        with scratch_beside(path) as folder:
            (folder / path.name).write_text(page, encoding="utf-8")
            (folder / path.name).replace(path)
    except OSError as error:
        error.filename2 = path  # what the user named, not the file beside it
        raise


def picture(image: np.ndarray, side: int) -> str:
    """An image (height, width, channels) of uint8 within a page, at most so many pixels high and wide."""
    drawn = viewed(image)
    if max(drawn.size) > side:
        drawn.thumbnail((side, side))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    scale = max(1, side // max(drawn.size))  # small ones larger, each pixel a square
    width, height = scale * drawn.width, scale * drawn.height
    return f"<img alt='' width='{width}' height='{height}' src='data:image/png;base64,{content}'>"


def _figure(figure: Any) -> str:
    return f"<div class='figure'></div><script type='application/json'>{figure.to_json()}</script>"  # no < in it


@cache
def _plotly() -> str:
    """plotly.js as base64 of gzip, two fifths of its size."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
