"""Files that ask for more than there is, small as they are: each is refused before it gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.runtime import CorruptModel, NotCheckable, limits, load
from tests.support.layers import build_network, loaded
from tests.support.memory import at_most


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """No test here may need more than the limits allow."""
    with at_most(1200):
        yield


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes or another message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def mean_and_softmax(b: Any, blob: str) -> None:
    b.add_reduce_mean("mean", blob, "m", axes=[-1, -2], keepdims=False)
    b.add_softmax_nd("soft", "m", "output", -1)


def wide_kernel(b: Any) -> None:
    """One row of gathered windows, 2**11 of 2**17 pixels, would take a gibibyte."""
    b.add_constant_pad("pad", ["image"], "p", pad_amounts=[0, 0, 0, 0, 0, 2**7 - 6, 0, 2**12 - 9])
    kernel = np.zeros((2**7, 2**10, 3, 1), np.float32)
    b.add_convolution("conv", 3, 1, 2**7, 2**10, 1, 1, "valid", 1, kernel, None, False, input_name="p", output_name="c")
    mean_and_softmax(b, "c")


def many_groups(b: Any) -> None:
    """A convolution of two channels for each of 2**15 groups."""
    b.add_reshape_static("flat", "image", "f", [1, 144, 1, 1])
    b.add_tile("tile", "f", "t", [1, 2**9, 1, 1])
    channels, kernel = 144 * 2**9, np.zeros((1, 1, 2, 144 * 2**8), np.float32)
    b.add_convolution(
        "conv",
        2,
        channels // 2,
        1,
        1,
        1,
        1,
        "valid",
        channels // 2,
        kernel,
        None,
        False,
        input_name="t",
        output_name="c",
    )
    mean_and_softmax(b, "c")


def long_windows(b: Any) -> None:
    """Maxima of 2**11 pixels at 2**11 places in each of 2**13 rows."""
    b.add_constant_pad("pad", ["image"], "p", pad_amounts=[0, 0, 0, 0, 0, 2**11 - 6, 0, 2**12 - 9])
    for i in range(4):
        b.add_pooling(f"pool{i}", 1, 2**11, 1, 1, "MAX", "VALID", "p", f"q{i}")
    mean_and_softmax(b, "q3")


def tall_then_narrow(b: Any) -> None:
    """2**22 rows of the width that there was, on the way to as many rows of one pixel."""
    b.add_constant_pad("pad", ["image"], "p", pad_amounts=[0, 0, 0, 0, 0, 0, 0, 2**12 - 9])
    b.add_resize_bilinear("resize", "p", "r", target_height=2**22, target_width=1)
    mean_and_softmax(b, "r")


def many_readings(b: Any) -> None:
    """Sums of one large blob, each a small one: little memory, and hours."""
    b.add_constant_pad("pad", ["image"], "p", pad_amounts=[0, 0, 0, 0, 0, 2**10, 0, 2**10])
    for i in range(2000):
        b.add_reduce_sum(f"sum{i}", "p", f"s{i}", axes=[-1, -2], keepdims=False)
    b.add_softmax_nd("soft", "s0", "output", -1)


def many_products(b: Any) -> None:
    """Products of large matrices, each within a layer's means."""
    b.add_constant_pad("pad", ["image"], "p", pad_amounts=[0, 0, 0, 0, 0, 2**11 - 6, 0, 2**11 - 8])
    for i in range(20):
        b.add_batched_mat_mul(f"product{i}", ["p", "p"], f"s{i}")
    mean_and_softmax(b, "s0")


def many_layers(b: Any) -> None:
    b.add_softmax_nd("soft", "image", "output", -1)
    one = b.spec.neuralNetworkClassifier.layers[0]
    b.spec.neuralNetworkClassifier.layers.extend([one] * limits.MAX_OPERATIONS)


LARGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "wide_kernel": (wide_kernel, "'conv'.*blob of shape"),
    "many_groups": (many_groups, "'conv'.*passes over its blob"),
    "long_windows": (long_windows, "'pool.*multiplications"),
    "tall_then_narrow": (tall_then_narrow, "'resize'.*blob of shape"),
    "many_readings": (many_readings, "'sum.*values for one image"),
    "many_products": (many_products, "'product.*(multiplications|values for one image)"),
    "many_layers": (many_layers, "layers; the limit is"),
}


LONGEST = ("many_products", "many_readings")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONGEST else ()) for name in LARGE]
)
def test_small_files_that_ask_for_much(name: str, tmp_path: Path) -> None:
    write, text = LARGE[name]
    with pytest.raises(NotCheckable, match=text):
        loaded(build_network(write, outputs=3), tmp_path)


def test_many_empty_messages_are_not_parsed(tmp_path: Path) -> None:
    """Layers without content: two bytes each in the file, a hundred in memory."""
    path = tmp_path / "m.mlmodel"
    path.write_bytes(field(403, field(1, b"") * 2**24))
    with pytest.raises(NotCheckable, match="fields"):
        load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x0b" * 1000,  # groups, which protobuf once had
        b"\xff" * 11,
        field(403, b"\x0a\xff\xff\xff\xff\x0f"),  # a layer longer than the network that holds it
        field(403, b"\x09\x00"),
        b"\x00\x00",
    ],
)
def test_bytes_that_are_no_message(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.mlmodel"
    path.write_bytes(content)
    with pytest.raises(CorruptModel, match="truncated or damaged|no model inside"):
        load(path)


@pytest.mark.parametrize(
    "extra",
    [
        b"\x08\x01",  # field 1 is a message, and here a number
        field(1023, b"x"),
    ],
)
def test_fields_of_other_versions_are_not_passed_over(extra: bytes, tmp_path: Path) -> None:
    spec = build_network(lambda b: mean_and_softmax(b, "image"), outputs=3)
    path = tmp_path / "m.mlmodel"
    path.write_bytes(spec.SerializeToString())
    assert load(path).interface.labels == ("0", "1", "2")
    path.write_bytes(spec.SerializeToString() + field(403, extra))
    with pytest.raises(NotCheckable, match="NeuralNetworkClassifier has a field"):
        load(path)


def test_files_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.mlmodel"
    with path.open("wb") as file:
        file.truncate(limits.MAX_FILE_BYTES + 1)  # no byte of it lies on the disk
    with pytest.raises(NotCheckable, match=f"{limits.MAX_FILE_BYTES + 1:,} bytes; the limit"):
        load(path)


def test_names_in_a_file_stay_in_one_line(tmp_path: Path) -> None:
    """A file's names are repeated in errors: neither a terminal's commands nor pages of them."""
    for name in ("a\nb", "\x1b[2J", "x" * 10**5, "\u202e"):
        spec = build_network(lambda b: mean_and_softmax(b, "image"), outputs=3)
        spec.neuralNetworkClassifier.layers[0].input[0] = name
        with pytest.raises(CorruptModel) as found:
            loaded(spec, tmp_path)
        assert str(found.value).isprintable()
        assert len(str(found.value)) < 1100
