"""The two published networks, row by row."""

from __future__ import annotations

import math
from typing import Any

import keras
import pytest
from rich.console import Console

import architectures
from architectures import registry, table
from architectures.errors import UsageError
from architectures.table import output_formula
from tests.support import families
from tests.support.commands import Command, invoke

MALIREDDI = [
    ("Conv2D", (24, 24, 32), 832),
    ("MaxPooling2D", (12, 12, 32), 0),
    ("Dropout", (12, 12, 32), 0),
    ("Conv2D", (10, 10, 64), 18_496),
    ("MaxPooling2D", (5, 5, 64), 0),
    ("Dropout", (5, 5, 64), 0),
    ("Conv2D", (5, 5, 128), 8_320),
    ("MaxPooling2D", (2, 2, 128), 0),
    ("Dropout", (2, 2, 128), 0),
    ("Flatten", (512,), 0),
    ("Dense", (128,), 65_664),
    ("Dense", (10,), 1_290),
]
CHOLLET = [
    ("Conv2D", (26, 26, 32), 320),
    ("Conv2D", (24, 24, 64), 18_496),
    ("MaxPooling2D", (12, 12, 64), 0),
    ("Dropout", (12, 12, 64), 0),
    ("Flatten", (9_216,), 0),
    ("Dense", (128,), 1_179_776),
    ("Dropout", (128,), 0),
    ("Dense", (10,), 1_290),
]
KERNELS = {"malireddi": [(5, 5), (3, 3), (1, 1)], "chollet": [(3, 3), (3, 3)]}


def dropout_rates(model: keras.Model) -> list[float]:
    return [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


@pytest.mark.parametrize(("name", "rows", "total"), [("malireddi", MALIREDDI, 94_602), ("chollet", CHOLLET, 1_199_882)])
def test_every_row_at_the_published_widths(name: str, rows: list, total: int) -> None:
    model = architectures.build(name, (28, 28, 1), 10)
    found = [(type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params()) for layer in model.layers]
    assert found == rows
    assert model.count_params() == total
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size for layer in convolutions] == KERNELS[name]
    activations = [layer.activation.__name__ for layer in model.layers if hasattr(layer, "activation")]
    assert activations == ["relu"] * (len(activations) - 1) + ["softmax"]


@pytest.mark.parametrize("name", ["malireddi", "chollet"])
def test_filters_scales_every_width(name: str) -> None:
    def widths(filters: int) -> list[int]:
        model = architectures.build(name, (28, 28, 1), 10, filters=filters)
        return [layer.output.shape[-1] for layer in model.layers if layer.count_params()][:-1]

    assert widths(8) == [width // 4 for width in widths(32)]


def test_dropout_reaches_every_dropout_layer() -> None:
    assert dropout_rates(architectures.build("malireddi", (28, 28, 1), 10, dropout=0.3)) == [0.3, 0.3, 0.3]
    assert dropout_rates(architectures.build("malireddi", (28, 28, 1), 10)) == [0.2, 0.2, 0.2]


@pytest.mark.parametrize(("rate", "second"), [(0.1, 0.2), (0.25, 0.5), (0.4, 0.5)])
def test_chollets_second_dropout_is_twice_the_rate_up_to_a_half(rate: float, second: float) -> None:
    assert dropout_rates(architectures.build("chollet", (28, 28, 1), 10, dropout=rate)) == [rate, second]


@pytest.mark.parametrize(("name", "smallest"), [("malireddi", 16), ("chollet", 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_image(name: str, smallest: int, channels: int) -> None:
    assert architectures.build(name, (smallest, smallest, channels), 10).input_shape[1] == smallest
    message = f"the smallest that work are {smallest}x{smallest}x{channels}"
    with pytest.raises(UsageError, match=message):
        architectures.build(name, (smallest - 1, smallest - 1, channels), 10)
    with pytest.raises(UsageError, match=message):
        architectures.build(name, (3 * smallest, 2, channels), 10)


def test_the_list_says_who_does_not_fit(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(registry, "names", lambda: ["malireddi", "pocket"])
    shown = command("architectures", "--input", "8x8x3", "--filters", "4").out
    assert shown.count("the smallest that work are 16x16x3") == 1  # malireddi, below the table of the others
    assert "arXiv:1804.07573" in shown


LISTED = ["chollet", "malireddi", "pocket"]  # all others are converted for it when docs/architectures.md runs


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "names", lambda: LISTED)
        return invoke("architectures", "--json", cwd=tmp_path_factory.mktemp("list")).json["architectures"]


@pytest.mark.parametrize(("width", "beside"), [(80, False), (200, True)])
def test_the_list_shows_every_figure_whole(
    width: int,
    beside: bool,
    summaries: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a terminal of 80 columns, too, where family and paper stand below the table."""
    monkeypatch.setattr(table, "console", lambda: Console(width=width))
    table.print_list(summaries)
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert "…" not in shown
    assert [line.split()[1] for line in rows] == LISTED
    assert ("1,199,882" in rows[0], "11,992,448" in rows[0]) == (True, True)
    assert ("arXiv:1804.07573" in "".join(rows)) == beside
    assert "arXiv:1804.07573" in shown


def test_the_commands_tables(
    summaries: list[dict[str, Any]], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    listed = {row["name"]: row for row in summaries}
    assert listed["chollet"]["parameters"] == 1_199_882
    assert listed["chollet"]["macs"] == 11_992_448
    assert 0 < listed["malireddi"]["coreml_bytes"] - 4 * 94_602 < 4_000  # float32 weights, names and metadata
    assert listed["pocket"]["paper"] == "ours; pooling of Chen et al. 2018, arXiv:1804.07573"
    assert listed["pocket"]["family"]
    shown = command("architectures", "malireddi", "--json").json
    assert [(row["kind"], tuple(row["output_shape"]), row["parameters"]) for row in shown["layers"]] == MALIREDDI
    assert [row["formula"] for row in shown["layers"] if row["formula"]] == [
        "5*5*1*32 + 32",
        "3*3*32*64 + 64",
        "1*1*64*128 + 128",
        "512*128 + 128",
        "128*10 + 10",
    ]
    assert [row["output_formula"] for row in shown["layers"] if row["output_formula"]] == [
        "28 - 5 + 1 = 24",
        "(24 - 2) // 2 + 1 = 12",
        "12 - 3 + 1 = 10",
        "(10 - 2) // 2 + 1 = 5",
        "5 - 1 + 1 = 5",
        "(5 - 2) // 2 + 1 = 2",
        "2*2*128 = 512",
    ]
    assert shown["layers"][3]["receptive_field"] == [10, 10]
    assert (shown["parameters"], shown["macs"]) == (94_602, 2_575_616)
    assert shown["coreml_bytes"] == listed["malireddi"]["coreml_bytes"]
    layers = command("architectures", "malireddi", "--input", "28x28x1", "--filters", "16").out
    assert "24x24x16" in layers
    assert "3*3*16*32 + 32" in layers
    assert "4,640" in layers
    assert command("architectures", "malireddi", "--input", "8x8x1").code == 2
    assert command("architectures", "malireddi", "--input", "8x8").code == 2
    assert "Registered:" in command("architectures", "nope").error


@pytest.mark.parametrize("name", families.each())
def test_output_formulas_are_right(name: str) -> None:
    formulas = {layer: output_formula(layer) for layer in architectures.build(name, (40, 56, 3), 4).layers}
    assert any(formulas.values())
    for layer, formula in formulas.items():
        sides = [side.split(" = ") for side in formula.split(", ") if side]
        assert all(eval(left, {"ceil": math.ceil}) == int(right) for left, right in sides), formula
        shape = list(layer.output.shape[1:])
        if sides:
            assert (shape[:2] if len(shape) == 3 else shape * 2) == [int(sides[0][1]), int(sides[-1][1])], formula
