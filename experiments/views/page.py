"""Render self-contained pages from templates: MLflow shows each file by itself, without an origin."""

from __future__ import annotations

import base64
import gzip
import io
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from architectures.display import visible
from architectures.scratch import scratch_beside
from experiments.datasets.viewed import viewed
from experiments.views.links import pages_of
from experiments.views.tables import DEFAULT_TEXT_COLUMNS

if TYPE_CHECKING:
    import numpy as np

TEMPLATES = Path(__file__).parent / "templates"
MOST_CONFUSED = 3  # pairs of classes listed above a confusion matrix


def _shown(value: object) -> object:
    """Prepare a value for a template: escape control characters in a text; the engine escapes the rest."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _engine() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        picture=picture,
        json_of=_json_of,
        plotly=_plotly,
        zip=zip,
        DEFAULT_TEXT_COLUMNS=DEFAULT_TEXT_COLUMNS,
        confusions=confusions,
    )
    made.filters.update(
        whole=lambda number: f"{number:,}", share=lambda number: f"{number:.4f}", tiny=lambda number: f"{number:.1e}"
    )
    return made


def render(template: str, **values: Any) -> str:
    """Render a page (2 MB if it contains a figure); `template` is a file name in `templates/`, without suffix."""
    return ENGINE.get_template(f"{template}.html.j2").render(values)


def save(page: str, path: Path) -> None:
    """Write a page, completely or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # devices and pipes are written to, not replaced
            path.write_text(page, encoding="utf-8")
            return
        with scratch_beside(path) as folder:
            (folder / path.name).write_text(page, encoding="utf-8")
            (folder / path.name).replace(path)
    except OSError as error:
        error.filename2 = path  # the user's file, not the temporary one
        raise


def run_link(run_id: str | None, tracking_uri: str | None) -> str | None:
    """Return the address of a run in the MLflow UI.

    >>> run_link("3f" * 16, "http://mlflow.example:8080/")
    'http://mlflow.example:8080/#/runs/3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
    >>> run_link("3f" * 16, "http://ann:s3cret@mlflow.example")
    'http://mlflow.example/#/runs/3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
    >>> run_link("3f" * 16, "http://ann:s3/cret@mlflow.example")
    'http://mlflow.example/#/runs/3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
    """
    if not run_id or not re.fullmatch("[0-9a-f]{32}", run_id):
        return None
    return f"{pages_of(tracking_uri)}/#/runs/{run_id}"


def picture(image: np.ndarray, side: int, text: str = "") -> Markup:
    """Return an image (height, width, channels) of uint8 as HTML, at most `side` pixels high and wide.

    Args:
        text: the alt text; empty if a caption next to the image says it all.
    """
    drawn = viewed(image)
    if max(drawn.size) > side:
        drawn.thumbnail((side, side))
    stream = io.BytesIO()
    drawn.save(stream, "PNG")
    scale = max(1, side // max(drawn.size))  # enlarges small images, each pixel to a square
    tag = '<img class="pixels" alt="{}" width="{}" height="{}" src="{}">'
    return Markup(tag).format(visible(text), scale * drawn.width, scale * drawn.height, data_uri(stream.getvalue()))


def data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def confusions(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[tuple[str, str, int]]:
    """Return the most frequent mistakes of a confusion matrix: true class, answer, number of images.

    >>> confusions(("4", "7", "9"), ((8, 0, 2), (0, 9, 1), (0, 0, 10)))
    [('4', '9', 2), ('7', '9', 1)]
    """
    found = [
        (true, answer, count)
        for row, (true, counts) in enumerate(zip(names, matrix, strict=True))
        for column, (answer, count) in enumerate(zip(names, counts, strict=True))
        if count and row != column
    ]
    return sorted(found, key=lambda one: -one[2])[:MOST_CONFUSED]


def _json_of(figure: Any) -> Markup:
    return Markup(figure.to_json())  # no < in it


@cache
def _plotly() -> str:
    """Return plotly.js as base64 of gzip, two fifths of its size."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


ENGINE = _engine()
