"""What float16 does to networks of which it is known: built to overflow, to vanish, to tie, or to hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from conversion.runtime import half, precision
from tests.support.layers import build_network, build_program

COUNT = 63 * 48 * 64
IMAGES = np.random.default_rng(0).integers(40, 200, (6, 6, 8, 3), dtype=np.uint8)


def saved(spec: Any, tmp_path: Path) -> Path:
    path = tmp_path / "model.mlmodel"
    path.write_bytes(spec.SerializeToString())
    return path


def ended(write: Callable[[Any], None], last: str) -> Callable[[Any], None]:
    """Layers, then the mean of each channel of their last blob, scaled to be small, and a softmax."""

    def network(b: Any) -> None:
        write(b)
        b.add_reduce_mean("mean", last, "m", axes=[-1, -2], keepdims=False)
        b.add_activation("small", "LINEAR", "m", "s", params=[1e-3, 0.0])
        b.add_softmax_nd("soft", "s", "output", -1)

    return network


def linear(name: str, before: str, after: str, alpha: float, beta: float = 0.0) -> Callable[[Any], None]:
    return lambda b: b.add_activation(name, "LINEAR", before, after, params=[alpha, beta])


def exponential(b: Any) -> None:
    """Pixels of 40 to 199 as powers of e: from 4 on 88,000 and more."""
    linear("tenth", "image", "x", 0.1)(b)
    b.add_unary("power", "x", "y", "exp")


def variance(b: Any) -> None:
    """A sum of 48 squares of up to 199 * 199 is beyond 65,504; its root would not be."""
    b.add_reduce_sumsquare("squares", "image", "x", axes=[-1, -2], keepdims=True)
    b.add_unary("root", "x", "y", "sqrt")


def hard_swish(b: Any) -> None:
    """x * min(max(x + 3, 0), 6), a sixth of which is the answer, of x above 11,000."""
    linear("large", "image", "x", 300.0)(b)
    linear("three", "x", "shifted", 1.0, 3.0)(b)
    b.add_clip("six", "shifted", "gate", 0.0, 6.0)
    b.add_multiply_broadcastable("product", ["x", "gate"], "z")
    linear("sixth", "z", "y", 1 / 6)(b)


OVERFLOWS = {"power": exponential, "squares": variance, "product": hard_swish}


@pytest.mark.parametrize("layer", OVERFLOWS)
def test_the_first_layer_beyond_the_end_of_float16_is_named(layer: str, tmp_path: Path) -> None:
    path = saved(build_network(ended(OVERFLOWS[layer], "y"), outputs=3, scale=1.0), tmp_path)
    answer, found = half.compare(path, IMAGES)
    assert np.isfinite(half.HalfExecutable(path).exact.probabilities(IMAGES)).all()
    assert found.overflow is not None
    assert f"'{layer}'" in found.overflow.layer
    assert found.overflow.images == len(IMAGES)
    assert found.not_numbers == np.isnan(answer).any(axis=1).sum() == len(IMAGES)  # a softmax of infinities
    assert f"layer '{layer}'" in found.text


def test_a_layer_whose_output_vanishes_is_named(tmp_path: Path) -> None:
    def write(b: Any) -> None:
        linear("small", "image", "x", 1e-5)(b)
        linear("smaller", "x", "y", 1e-6)(b)
        linear("large", "y", "z", 1e11)(b)
        b.add_reduce_mean("mean", "z", "m", axes=[-1, -2], keepdims=False)
        b.add_softmax_nd("soft", "m", "output", -1)

    _, found = half.compare(saved(build_network(write, outputs=3, scale=1.0), tmp_path), IMAGES)
    assert found.underflow is not None
    assert "'smaller'" in found.underflow.layer
    assert found.underflow.images == len(IMAGES)
    assert found.overflow is None
    assert found.label_flips > 0
    assert all("'smaller'" in blame.layer for blame in found.label_moved_by)


def test_a_layer_that_moves_a_label_is_named(tmp_path: Path) -> None:
    """1 more than 2,048 is no float16: where green is a little more than red, they become equal, and red is first."""
    images = np.zeros((2, 6, 8, 3), np.uint8)
    images[:, ..., 0], images[0, ..., 1], images[1, ..., 1] = 100, 101, 140

    def write(b: Any) -> None:
        b.add_reduce_mean("mean", "image", "m", axes=[-1, -2], keepdims=False)
        linear("far", "m", "f", 1.0, 4096.0)(b)
        linear("back", "f", "y", 1.0, -4096.0)(b)
        b.add_softmax_nd("soft", "y", "output", -1)

    _, found = half.compare(saved(build_network(write, outputs=3, scale=1.0), tmp_path), images)
    assert (found.label_flips, found.flipped, found.images) == (1, (0,), 2)
    assert [(each.layer, each.images) for each in found.label_moved_by] == [("layer 'far' (activation)", 1)]
    assert found.overflow is None
    assert found.max_difference > 0.1


@pytest.mark.parametrize("logits", [1.0, 200.0])
def test_what_holds_in_float16_is_left_alone(logits: float, tmp_path: Path) -> None:
    """A softmax subtracts its largest logit: large ones are no harm, and small probabilities that become 0 neither."""

    def write(b: Any) -> None:
        b.add_reduce_mean("mean", "image", "m", axes=[-1, -2], keepdims=False)
        linear("logits", "m", "y", logits, 0.0)(b)
        b.add_softmax_nd("soft", "y", "output", -1)

    answer, found = half.compare(saved(build_network(write, outputs=3), tmp_path), IMAGES)
    assert (found.overflow, found.underflow, found.label_flips, found.not_numbers) == (None, None, 0, 0)
    assert 0 < found.max_difference < 0.1
    np.testing.assert_array_equal(answer, answer.astype(np.float16))
    assert "0 of 6 labels differ" in found.text


def test_an_ml_program_is_computed_alike(tmp_path: Path) -> None:
    def write(image: Any) -> Any:
        large = mb.exp(x=mb.mul(x=image, y=np.float32(0.1)), name="power")
        return mb.softmax(x=mb.reduce_mean(x=mb.log(x=large), axes=[2, 3], keep_dims=False), axis=-1)

    build_program(write, scale=False).save(str(tmp_path / "model.mlpackage"))
    _, found = half.compare(tmp_path / "model.mlpackage", IMAGES)
    assert found.overflow is not None
    assert "'power'" in found.overflow.layer


def test_sums_in_float16_stop_growing(tmp_path: Path) -> None:
    """Ones summed one after the other stay at 2,048, which float16 has no 2,049 above."""

    def write(b: Any) -> None:
        linear("one", "image", "ones", 0.0, 1.0)(b)
        b.add_tile("more", "ones", "t", [1, 21, 8, 8])
        b.add_flatten_to_2d("flat", "t", "f", axis=1)
        b.add_batched_mat_mul(
            "sum", ["f"], "y", weight_matrix_rows=COUNT, weight_matrix_columns=3, W=np.ones((COUNT, 3), np.float32)
        )
        linear("small", "y", "s", 1e-4)(b)
        b.add_softmax_nd("soft", "s", "output", -1)

    path = saved(build_network(write, outputs=3, scale=1.0), tmp_path)
    _, wide = half.compare(path, IMAGES[:1])
    assert wide.overflow is not None  # of the sum, COUNT
    assert "'sum'" in wide.overflow.layer
    _, narrow = half.compare(path, IMAGES[:1], accumulation="float16")
    assert (narrow.overflow, narrow.not_numbers) == (None, 0)


@pytest.mark.parametrize("shape", [((5, 7), (7, 4)), ((2, 3, 5, 7), (7, 4)), ((2, 1, 5, 7), (3, 7, 4))])
def test_products_in_float16_are_their_definition(shape: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal(each, dtype=np.float32) for each in shape)
    with precision.halved(sums=True):
        found = precision.matmul(a, b)
    expected = np.zeros(found.shape, np.float32)
    wide_a = np.broadcast_to(a, (*found.shape[:-2], *a.shape[-2:]))
    wide_b = np.broadcast_to(b, (*found.shape[:-2], *b.shape[-2:]))
    for place in np.ndindex(found.shape):
        total = np.float16(0)
        for k in range(7):
            left, right = wide_a[(*place[:-1], k)], wide_b[(*place[:-2], k, place[-1])]
            total = np.float16(total + np.float16(np.float16(left) * np.float16(right)))
        expected[place] = total
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, a @ b, atol=0.05)
    np.testing.assert_array_equal(precision.matmul(a, b), a @ b)  # outside nothing has changed


def test_batches_are_joined_as_if_they_were_one(tmp_path: Path) -> None:
    path = saved(build_network(ended(exponential, "y"), outputs=3, scale=1.0), tmp_path)
    _, whole = half.compare(path, IMAGES)
    parts = [half.compare(path, IMAGES[first : first + 4])[1] for first in (0, 4)]
    assert half.Half.joined(parts) == whole
