"""A page with figures of Plotly that needs nothing beside it: MLflow shows each file alone, without an origin."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from functools import cache
from typing import Any

from experiments.tables import STYLE, html_text

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
    head = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html_text(title)}</title>"
    return "".join(
        [head, f"<style>{STYLE}</style></head><body><h1>{html_text(title)}</h1>", *drawn, "</body></html>\n"]
    )


def _figure(figure: Any) -> str:
    return f"<div class='figure'></div><script type='application/json'>{figure.to_json()}</script>"  # no < in it


@cache
def _plotly() -> str:
    """plotly.js as base64 of gzip, two fifths of its size."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
