"""Show an architecture as a table of its layers, and all architectures as a list."""

from __future__ import annotations

from importlib.metadata import entry_points
from itertools import groupby
from typing import Any

from architectures.command import PIPE_WIDTH, console
from architectures.errors import ProjectError
from architectures.receptive import receptive_fields
from architectures.registry import Architecture, Shape

LABELS = {"macs": "MACs", "coreml_bytes": "Core ML bytes"}  # headings, if not the figure's key


def summarize(
    architecture: Architecture, input_shape: Shape, num_classes: int, *, filters: int | None = None
) -> dict[str, Any]:
    """Return a row of the list: figures at the published width or at `filters`, or why there are none."""
    row: dict[str, Any] = {
        "name": architecture.name,
        "family": architecture.family,
        "filters": _width(architecture, filters),
        "dropout": architecture.default_dropout,
        "summary": architecture.summary,
        "paper": architecture.paper,
        "parameters": None,
        **dict.fromkeys(_figure_names()),
    }
    try:
        width = filters if architecture.default_filters is not None else None
        parameters = architecture.build(input_shape, num_classes, filters=width).count_params()
        return row | {"parameters": parameters} | _figures(architecture, input_shape, num_classes, width)
    except ProjectError as error:
        return row | {"misfit": " ".join(str(error).split())}


def describe(
    architecture: Architecture, input_shape: Shape, num_classes: int, *, filters: int | None = None
) -> dict[str, Any]:
    """Return the layer table: output shape, parameters and receptive field of each layer, and figures of the network.

    `output_formula` and `formula` show how an output's size and a number of parameters are computed.
    """
    model = architecture.build(input_shape, num_classes, filters=filters)
    fields = receptive_fields(model)
    layers = [
        {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "output_shape": list(layer.output.shape[1:]),
            "output_formula": output_formula(layer),
            "receptive_field": fields[layer.name],  # height and width in pixels; None: not known
            "parameters": layer.count_params(),
            "formula": _formula([weight.shape for weight in layer.weights if "seed" not in weight.path]),
        }
        for layer in model.layers
        if type(layer).__name__ != "InputLayer"
    ]
    return {
        "name": architecture.name,
        "summary": architecture.summary,
        "family": architecture.family,
        "paper": architecture.paper,
        "input_shape": list(input_shape),
        "filters": _width(architecture, filters),
        "layers": layers,
        "parameters": model.count_params(),
        **_figures(architecture, input_shape, num_classes, filters),
    }


def _width(architecture: Architecture, filters: int | None) -> int | None:
    """Return the width to show; None for fixed widths."""
    return None if architecture.default_filters is None else filters or architecture.default_filters


def _figure_names() -> list[str]:
    return [point.name for point in entry_points(group="architecture_figures")]


def _figures(architecture: Architecture, input_shape: Shape, num_classes: int, filters: int | None) -> dict[str, int]:
    """Return figures from the entry-point group `architecture_figures`, because this package imports no others."""
    return {
        point.name: point.load()(architecture, input_shape, num_classes, filters)
        for point in entry_points(group="architecture_figures")
    }


def _formula(shapes: list[tuple[int, ...]]) -> str:
    """Return how a layer's number of parameters is computed from the shapes of its weights.

    >>> _formula([(5, 5, 1, 32), (32,)])
    '5*5*1*32 + 32'
    >>> _formula([(16,)] * 4)
    '4*16'
    """
    terms = []
    for shape, equal in groupby(shapes):
        count = len(list(equal))
        terms.append("*".join(map(str, ((count,) if count > 1 else ()) + tuple(shape))))
    return " + ".join(terms)


def output_formula(layer: Any) -> str:
    """Return how the height of a layer's output is computed, and the width if it differs; empty if nothing changes.

    A window of k positions with stride s fits (n - k) / s + 1 times into n, rounded down, and with padding n / s times,
    rounded up (V. Dumoulin, F. Visin, "A guide to convolution arithmetic", 2016).

    >>> from keras import Input, layers
    >>> convolution, pooling, flat = layers.Conv2D(32, 5), layers.MaxPooling2D(), layers.Flatten()
    >>> _ = flat(pooling(convolution(Input((29, 29, 1)))))
    >>> [output_formula(layer) for layer in (convolution, pooling, flat)]
    ['29 - 5 + 1 = 25', '(25 - 2) // 2 + 1 = 12', '12*12*32 = 4608']
    """
    from keras import layers

    entering, leaving = layer.input, layer.output.shape
    if isinstance(layer, layers.Flatten):
        return f"{'*'.join(map(str, entering.shape[1:]))} = {leaving[1]}"
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        windows = [(side - 1) * gap + 1 for side, gap in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    elif isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        windows = list(layer.pool_size)
    else:
        return ""
    sides = zip(entering.shape[1:3], windows, layer.strides, leaving[1:3], strict=True)
    return ", ".join(dict.fromkeys(_side_formula(*side, padded=layer.padding == "same") for side in sides))


def _side_formula(size: int, window: int, stride: int, result: int, *, padded: bool) -> str:
    """Return how often a window fits along one side.

    >>> _side_formula(28, 3, 2, 14, padded=True)
    'ceil(28 / 2) = 14'
    """
    if padded:
        return f"ceil({size} / {stride}) = {result}"
    fits = f"{size} - {window}"
    return f"{fits} + 1 = {result}" if stride == 1 else f"({fits}) // {stride} + 1 = {result}"


def print_list(rows: list[dict[str, Any]]) -> None:
    """Print the list on stdout, then the reasons for missing figures.

    In a narrow terminal, family and paper are printed below the list, too.
    """
    from rich.markup import escape
    from rich.table import Table

    figures = ["filters", "parameters", *_figure_names()]

    def table(words: tuple[str, ...]) -> Table:
        made = Table()
        for name in ("name", *words[:1], *figures, *words[1:]):
            made.add_column(LABELS.get(name, name), justify="right" if name in figures else "left", no_wrap=True)
        for row in rows:
            numbers = ["-" if row[name] is None else f"{row[name]:,}" for name in figures]
            texts = [escape(row[name]) for name in words]
            made.add_row(escape(row["name"]), *texts[:1], *numbers, *texts[1:])
        return made

    place = console()
    whole = table(("family", "paper"))
    fits = place.measure(whole, options=place.options.update_width(PIPE_WIDTH)).maximum <= place.width
    place.print(whole if fits else table(()))
    for row in rows:
        if not fits:
            place.print(f"{escape(row['name'])}: family {escape(row['family'])}; paper {escape(row['paper'])}")
        if "misfit" in row:
            place.print(escape(row["misfit"]), soft_wrap=True)


def print_layers(shown: dict[str, Any]) -> None:
    """Print the layer table on stdout."""
    from rich.markup import escape
    from rich.table import Table

    size = "x".join(map(str, shown["input_shape"]))
    width = "" if shown["filters"] is None else f", filters {shown['filters']}"
    table = Table(title=f"{escape(shown['name'])} on {size}{width}", title_justify="left")
    for name in ("layer", "kind"):
        table.add_column(name)
    for name in ("output shape", "receptive field", "parameters"):
        table.add_column(name, justify="right")
    table.add_column("weights")
    for layer in shown["layers"]:
        table.add_row(
            escape(layer["layer"]),
            layer["kind"],
            "x".join(map(str, layer["output_shape"])),
            "x".join(map(str, layer["receptive_field"] or "?")),
            f"{layer['parameters']:,}",
            layer["formula"],
        )
    place = console()
    place.print(escape(shown["summary"]), soft_wrap=True)
    if shown["paper"]:
        place.print(escape(shown["paper"]), soft_wrap=True)
    place.print(table)
    figures = ["parameters", *_figure_names()]
    place.print(", ".join(f"{LABELS.get(name, name)} {shown[name]:,}" for name in figures))
