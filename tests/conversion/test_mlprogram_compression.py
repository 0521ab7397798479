"""Compressed packages: every form that coremltools writes, against its own decompression and against Apple's examples.

The two share nothing with the executor; the examples are those in the descriptions of the operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import coremltools as ct
import keras
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from conversion.runtime import CorruptModel, load
from tests.support.layers import (
    MODEL,
    block_of,
    build_program,
    convert_program,
    images,
    loaded_package,
    quiet,
    randomize,
    spec_of,
    sub_byte,
)

optimize = ct.optimize.coreml
Compression = Callable[[Any], Any]


def _with(function: Callable[..., Any], config: Callable[..., Any], options: dict[str, Any]) -> Compression:
    joint = options.pop("joint", None)
    extra = {"joint_compression": True} if joint else {}
    chosen = optimize.OptimizationConfig(global_config=config(weight_threshold=0, **options))
    return lambda model: function(model, chosen, **extra)


def quantized(mode: str = "linear_symmetric", **options: Any) -> Compression:
    return _with(optimize.linear_quantize_weights, optimize.OpLinearQuantizerConfig, {"mode": mode, **options})


def palettized(nbits: int, **options: Any) -> Compression:
    return _with(optimize.palettize_weights, optimize.OpPalettizerConfig, {"nbits": nbits, "mode": "kmeans", **options})


def pruned(**options: Any) -> Compression:
    return _with(optimize.prune_weights, optimize.OpMagnitudePrunerConfig, {"target_sparsity": 0.6, **options})


def after(*steps: Compression) -> Compression:
    def compress(model: Any) -> Any:
        for step in steps:
            model = step(model)
        return model

    return compress


AFFINE, BLOCKWISE = {"constexpr_affine_dequantize"}, {"constexpr_blockwise_shift_scale"}
LUT, SPARSE = {"constexpr_lut_to_dense"}, {"constexpr_sparse_to_dense"}

# name: (oldest system, compression, operations that it writes)
COMPRESSIONS: dict[str, tuple[str, Compression, set[str]]] = {
    "int8": ("iOS16", quantized(), AFFINE),
    "int8_zero_point": ("iOS16", quantized("linear"), AFFINE),
    "uint8_tensor": ("iOS16", quantized("linear", dtype="uint8", granularity="per_tensor"), AFFINE),
    **{f"palette_{bits}": ("iOS16", palettized(bits), LUT) for bits in (1, 2, 4, 6, 8)},
    "pruned": ("iOS16", pruned(), SPARSE),
    "int8_iOS18": ("iOS18", quantized(), BLOCKWISE),
    "int4": ("iOS18", quantized(dtype="int4"), BLOCKWISE),
    "uint4_zero_point": ("iOS18", quantized("linear", dtype="uint4"), BLOCKWISE),
    "int4_blocks": ("iOS18", quantized(dtype="int4", granularity="per_block", block_size=2), BLOCKWISE),
    **{f"palette_{bits}_iOS18": ("iOS18", palettized(bits), LUT) for bits in (3, 4, 8)},
    "palette_groups": ("iOS18", palettized(3, granularity="per_grouped_channel", group_size=2), LUT),
    "palette_vectors": ("iOS18", palettized(2, cluster_dim=2), LUT),
    "palette_scaled": ("iOS18", palettized(4, enable_per_channel_scale=True), LUT | BLOCKWISE),
    "pruned_iOS18": ("iOS18", pruned(), SPARSE),
    "pruned_palette": ("iOS18", after(pruned(), palettized(4, joint=True)), {"constexpr_lut_to_sparse"} | SPARSE),
    "pruned_int8": (
        "iOS18",
        after(pruned(), quantized(joint=True)),
        {"constexpr_sparse_blockwise_shift_scale"} | SPARSE,
    ),
    "quantized_palette": (
        "iOS18",
        after(palettized(4), quantized(granularity="per_tensor", joint=True)),
        LUT | BLOCKWISE,
    ),
    "pruned_quantized_palette": (
        "iOS18",
        after(pruned(), palettized(4, joint=True), quantized(granularity="per_tensor", joint=True)),
        {"constexpr_lut_to_sparse"} | SPARSE | BLOCKWISE,
    ),
}


@pytest.fixture(scope="module")
def small() -> Callable[[str, str], Any]:
    """A small network with every kind of layer that holds weights."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 10, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.Conv2DTranspose(4, 2, strides=2, activation="relu"),
            layers.Dense(8, activation="tanh"),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )
    randomize(model)
    return cache(lambda target, precision: convert_program(model, target=target, precision=precision))


def operations(package: Any) -> set[str]:
    return {operation.type for operation in block_of(package.get_spec()).operations}


# Half precision changes what the scales and tables are stored in, not how they are read: a few forms suffice.
HALF = ("int8_zero_point", "uint4_zero_point", "pruned_quantized_palette")


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # sixteen means for fifteen values
@pytest.mark.parametrize(
    ("name", "precision"), [(name, "FLOAT32") for name in COMPRESSIONS] + [(name, "FLOAT16") for name in HALF]
)
def test_compressed_packages(name: str, precision: str, small: Callable[[str, str], Any], tmp_path: Path) -> None:
    target, compress, expected = COMPRESSIONS[name]
    original = small(target, precision)
    with quiet():
        package = compress(original)
        plain = optimize.decompress_weights(package)
    assert {kind for kind in operations(package) if kind.startswith("constexpr")} == expected
    (tmp_path / "plain").mkdir()
    executable, reference = loaded_package(package, tmp_path), loaded_package(plain, tmp_path / "plain")
    assert executable.weights.keys() == reference.weights.keys()
    for operation, weights in reference.weights.items():
        for parameter, values in weights.items():
            np.testing.assert_array_equal(executable.weights[operation][parameter], values)
    pixels = images((8, 10, 3))
    np.testing.assert_allclose(executable.probabilities(pixels), reference.probabilities(pixels), rtol=0, atol=1e-6)


def decompressed(write: Callable[[], Any], tmp_path: Path) -> np.ndarray:
    """What a package computes for a constant: it adds an image of zeros to it."""

    def program(x: Any) -> Any:
        zero = mb.mul(x=mb.reduce_max(x=x, axes=[0, 1, 2, 3], keep_dims=False), y=np.float32(0))
        return mb.reshape(x=mb.add(x=write(), y=zero), shape=[1, -1])

    return loaded_package(build_program(program), tmp_path).probabilities(images((6, 8, 3), 1))[0]


def test_grouped_table(tmp_path: Path) -> None:
    """The first example in the description of constexpr_lut_to_dense: two tables, for three rows each."""
    indices = sub_byte([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]], "uint2")
    lut = np.float32([1, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)
    found = decompressed(lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut), tmp_path)
    np.testing.assert_array_equal(found, [9, 13, 13, 1, 5, 1, 26, 2, 18, 10, 2, 26])


VECTORS = {
    1: [[[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]], [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]]],
    2: [[[1, 2, 3, 1, 2, 3], [4, 5, 6, 1, 2, 3]], [[4, 5, 6, 4, 5, 6], [1, 2, 3, 1, 2, 3]]],
    -2: [[[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]], [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]]],
}


@pytest.mark.parametrize("axis", VECTORS)
def test_table_of_vectors(axis: int, tmp_path: Path) -> None:
    """The second example: each index becomes three values along an axis."""
    indices = sub_byte([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], "uint1")
    lut = np.float32([1, 2, 3, 4, 5, 6]).reshape(1, 1, 1, 2, 3)
    found = decompressed(lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut, vector_axis=axis), tmp_path)
    np.testing.assert_array_equal(found, np.array(VECTORS[axis]).ravel())


MASK = [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
SPARSE_LAYOUT = [[2, 3, 0, 0, 0, 0], [3, 2, 0, 0, 0, 3], [0, 3, 2, 0, 2, 0], [0, 0, 0, 3, 0, 0]]


@pytest.mark.parametrize("size", [1, 2])
def test_sparse_table(size: int, tmp_path: Path) -> None:
    """The example in the description of constexpr_lut_to_sparse, of values and of vectors of two."""
    codes = sub_byte([0, 1, 1, 0, 1, 1, 0, 0, 1], "uint1")
    lut = np.float32([[2, 2.5], [3, 3.5]])[:, :size].reshape(1, 1, 2, size)

    def write() -> Any:
        mask, values = mb.constexpr_lut_to_sparse(
            indices_mask=sub_byte(MASK, "uint1"), indices_nonzero_data=codes, lut=lut, vector_axis=0
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)

    expected = np.float32(SPARSE_LAYOUT)
    if size == 2:
        expected = np.stack([expected, np.where(expected > 0, expected + 0.5, 0)], axis=1)
    np.testing.assert_array_equal(decompressed(write, tmp_path), expected.ravel())


def test_sparse_scales(tmp_path: Path) -> None:
    """The example in the description of constexpr_sparse_blockwise_shift_scale, its third row put right.

    Apple's text shows the first row's result again in the second row; 3, 4, 5 give (3-1)*0.1, (4-2)*0.2, (5-3)*0.3.
    """
    mask = sub_byte([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], "uint1")

    def write() -> Any:
        found, values = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=mask,
            nonzero_data=np.int8([10, 11, 3, 4, 5, 6, 7, 8, 9]),
            scale=np.float32([[0.1, 0.2, 0.3, 0.4]]),
            offset=np.int8([[1, 2, 3, 4]]),
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=found)

    expected = [[0.9, 1.8, 0, 0], [0.2, 0.4, 0.6, 0], [0, 0, 0.9, 1.2], [0.7, 1.4, 0, 0]]
    np.testing.assert_allclose(decompressed(write, tmp_path), np.ravel(expected), rtol=1e-6)


@pytest.mark.parametrize("kind", ["int4", "uint4", "int8", "uint8"])
def test_blocks_of_two_axes(kind: str, tmp_path: Path) -> None:
    """Every second row and every third column has its own scale and offset; the codes run through their range."""
    low, high = (
        (-8, 7) if kind == "int4" else (0, 15) if kind == "uint4" else (-128, 127) if kind == "int8" else (0, 255)
    )
    data = np.linspace(low, high, 24).round().reshape(4, 6)
    scale = np.float32([[1, 10], [100, 1000]])
    offset = np.array([[0, 1], [2, 3]])

    def write() -> Any:
        return mb.constexpr_blockwise_shift_scale(data=sub_byte(data, kind), scale=scale, offset=sub_byte(offset, kind))

    expected = [[scale[i // 2, j // 3] * (data[i, j] - offset[i // 2, j // 3]) for j in range(6)] for i in range(4)]
    np.testing.assert_allclose(decompressed(write, tmp_path), np.ravel(expected), rtol=1e-6)


def test_float16_constant_that_is_cast(tmp_path: Path) -> None:
    values = np.float16([0.1, 0.2, -3])
    found = decompressed(lambda: mb.constexpr_cast(source_val=values, output_dtype="fp32"), tmp_path)
    np.testing.assert_array_equal(found, values.astype(np.float32))


def edited(package: Any, change: Callable[[Any], Any], tmp_path: Path) -> None:
    """Save a package, change the first of its compressed constants, and load it."""
    path = tmp_path / "model.mlpackage"
    package.save(str(path))
    spec = spec_of(path)
    change(next(operation for operation in block_of(spec).operations if operation.type.startswith("constexpr")))
    (path / MODEL).write_bytes(spec.SerializeToString())
    load(path)


def _retype(operation: Any, parameter: str, kind: int) -> None:
    operation.inputs[parameter].arguments[0].value.type.tensorType.dataType = kind


MIL = ct.proto.MIL_pb2
DAMAGES: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "axis": ("int8", lambda o: o.attributes["axis"].immediateValue.tensor.ints.values.__setitem__(0, 9), "axis 9"),
    "shape": (
        "palette_4",
        lambda o: o.attributes["shape"].immediateValue.tensor.bytes.__setattr__("values", bytes([9, 0, 0, 0] * 2)),
        "bytes where \\(9, 9\\) needs",
    ),
    "missing": ("int8", lambda o: o.attributes.pop("scale"), "no scale"),
    "narrow_type": ("palette_4_iOS18", lambda o: _retype(o, "indices", MIL.UINT3), "stored as type 11, not UINT3"),
    "wide_type": ("int4", lambda o: _retype(o, "data", MIL.INT8), "stored as type 8, not INT8"),
    "declared": (
        "int4",
        lambda o: o.outputs[0].type.tensorType.dimensions[0].constant.__setattr__("size", 99),
        "declares the shape",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_compression(name: str, small: Callable[[str, str], Any], tmp_path: Path) -> None:
    form, change, text = DAMAGES[name]
    target, compress, _ = COMPRESSIONS[form]
    with quiet(), pytest.raises(CorruptModel, match=text):
        edited(compress(small(target, "FLOAT32")), change, tmp_path)
