"""An architecture as a table of its layers, and all of them as a list."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from architectures.errors import UsageError
from architectures.registry import Architecture, Shape


def summarize(architecture: Architecture, input_shape: Shape, num_classes: int) -> dict[str, object]:
    """One row of the list: parameters at the published width, or why the images do not fit."""
    row: dict[str, object] = {
        "name": architecture.name,
        "filters": architecture.default_filters,
        "dropout": architecture.default_dropout,
        "summary": architecture.summary,
    }
    try:
        return row | {"parameters": architecture.build(input_shape, num_classes).count_params()}
    except UsageError as error:
        return row | {"parameters": None, "misfit": str(error)}


def describe(
    architecture: Architecture, input_shape: Shape, num_classes: int, *, filters: int | None = None
) -> dict[str, Any]:
    """The layer table: output shape and parameters of each layer, and figures of the whole.

    Figures beyond the parameters come from the entry-point group `architecture_figures`: this package knows neither
    training nor conversion.
    """
    model = architecture.build(input_shape, num_classes, filters=filters)
    layers = [
        {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "output_shape": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
        if type(layer).__name__ != "InputLayer"
    ]
    figures = {
        point.name: point.load()(architecture, input_shape, num_classes, filters)
        for point in entry_points(group="architecture_figures")
    }
    return {
        "name": architecture.name,
        "summary": architecture.summary,
        "input_shape": list(input_shape),
        "filters": filters or architecture.default_filters,
        "layers": layers,
        "parameters": model.count_params(),
        **figures,
    }


def print_list(rows: list[dict[str, object]]) -> None:
    """Print the list on stdout."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("name")
    for name in ("filters", "dropout", "parameters"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        parameters = row["parameters"]
        shown = f"{parameters:,}" if parameters is not None else "-"
        text = str(row.get("misfit", row["summary"]))
        table.add_row(escape(str(row["name"])), str(row["filters"]), f"{row['dropout']:.2f}", shown, escape(text))
    Console(highlight=False).print(table)


def print_layers(shown: dict[str, Any]) -> None:
    """Print the layer table on stdout."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    size = "x".join(map(str, shown["input_shape"]))
    table = Table(title=f"{escape(shown['name'])} on {size}, filters {shown['filters']}", title_justify="left")
    for name in ("layer", "kind"):
        table.add_column(name)
    for name in ("output shape", "parameters"):
        table.add_column(name, justify="right")
    for layer in shown["layers"]:
        shape = "x".join(map(str, layer["output_shape"]))
        table.add_row(escape(layer["layer"]), layer["kind"], shape, f"{layer['parameters']:,}")
    console = Console(highlight=False)
    console.print(table)
    figures = {key: value for key, value in shown.items() if isinstance(value, int) and key != "filters"}
    console.print(", ".join(f"{key} {value:,}" for key, value in figures.items()))
