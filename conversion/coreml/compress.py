"""Compress a converted network's kernels.

Kernels are the weights of convolutions and matrix products. All other weights stay in half precision: coremltools' own
quantization of a neuralnetwork also gives each bias a table, which is larger than the bias, and its clustering fails
(`quantize_weights(mode="kmeans_lut")` of coremltools 9 raises TypeError).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.config import Compression

BITS = {"int8": 8, "palette6": 6, "palette4": 4, "palette2": 2}  # of the code of a weight
SPARSITY = {"prune50": 0.5, "prune75": 0.75}  # share of weights, the smallest ones, that become zero

# Weights of the smallest kernel that is compressed. coremltools' own limit of 2,048 leaves out most of a small network;
# from 64 on, two bits cost 2 to 4 points more accuracy for 400 to 900 bytes less (see experiments/LOG.md).
SMALLEST_KERNEL = 512
MAX_CLUSTERINGS = 10_000  # rounds of k-means, of which a million weights need a few hundred
SMALLEST_CHANNEL = 32  # weights of one output from which on a separate 8-bit scale is worth its 8 bytes


def compress_network(spec: Any, compression: Compression) -> None:
    """Compress the weights of a neuralnetwork's `Model` message in place.

    The encoding is that of coremltools' quantized weights, which its specification version 4 already allows.
    """
    if compression == "none":
        return
    network = spec.neuralNetworkClassifier
    for layer in network.layers:
        if compression in BITS:
            _compress_kernel(layer, compression)
    for stored in _weights(network):
        values = _values(stored)
        if len(values):
            stored.float16Value = values.astype("<f2").tobytes()
            del stored.floatValue[:]


def _compress_kernel(layer: Any, compression: Compression) -> None:
    kind = layer.WhichOneof("layer")
    if kind not in ("convolution", "innerProduct", "batchedMatmul"):
        return
    params = getattr(layer, kind)
    values = _values(params.weights)
    if len(values) < SMALLEST_KERNEL:
        return
    bits = BITS[compression]
    quantization = params.weights.quantization
    if compression == "int8":
        outputs = params.weightMatrixSecondDimension if kind == "batchedMatmul" else params.outputChannels
        transposed = kind == "convolution" and params.isDeconvolution  # its outputs are not along the first axis
        channels = outputs if len(values) >= SMALLEST_CHANNEL * outputs and not transposed else 1
        codes, scale, bias = _linear(values.reshape(channels, -1))
        quantization.linearQuantization.scale.extend(scale)
        quantization.linearQuantization.bias.extend(bias)
    else:
        table, codes = palette(values, bits)
        quantization.lookupTableQuantization.floatValue.extend(table)
    quantization.numberOfBits = bits
    params.weights.rawValue = _packed(codes, bits)
    del params.weights.floatValue[:]


def _weights(message: Any) -> Iterator[Any]:
    """Yield all `WeightParams` in a message."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in value if field.is_repeated else [value]:
            if field.message_type.name == "WeightParams":
                yield child
            else:
                yield from _weights(child)


def _values(stored: Any) -> npt.NDArray[np.float32]:
    return np.fromiter(stored.floatValue, np.float32, len(stored.floatValue))


def _linear(
    rows: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return codes 0..255 of each row, and the scale and bias to decode them."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    scale = np.where(high > low, (high - low) / 255, 1).astype(np.float32)
    codes = np.rint((rows - low[:, None]) / scale[:, None]).clip(0, 255).astype(np.uint8)
    return codes.ravel(), scale, low


def palette(values: npt.NDArray[np.floating], bits: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.uint8]]:
    """Find the table that represents values with the least squared error, by k-means.

    Returns:
        The table's 2**bits entries in ascending order, of the values' type, and the code of each value, flat; equal
        for equal values on any number of processors.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Cluster the distinct values in half precision, weighted by frequency: a million weights have 30,000.
    points, inverse, counts = np.unique(values.astype(np.float16).ravel(), return_inverse=True, return_counts=True)
    size = min(2**bits, len(points))
    with threadpool_limits(1):  # threads would sum in any order
        # Until nothing changes: verification compares each entry with the mean of the weights that it represents.
        means = KMeans(size, n_init=1, tol=0, max_iter=MAX_CLUSTERINGS, random_state=0)
        means.fit(points[:, None].astype(float), sample_weight=counts)
    order = np.argsort(means.cluster_centers_[:, 0])
    table = np.zeros(2**bits, values.dtype)
    table[:size] = means.cluster_centers_[order, 0]
    return table, np.argsort(order).astype(np.uint8)[means.labels_][inverse]


def _packed(codes: npt.NDArray[np.uint8], bits: int) -> bytes:
    """Pack codes of 1..8 bits, most significant bit first, across byte boundaries.

    >>> import numpy as np
    >>> _packed(np.array([0, 1, 2, 3], np.uint8), 2) == bytes([0b00_01_10_11])
    True
    """
    return np.packbits(np.unpackbits(codes[:, None], axis=1)[:, 8 - bits :]).tobytes()


def compress_program(model: Any, compression: Compression) -> Any:
    """Return a compressed copy of an ML Program in half precision, as coremltools' model."""
    import coremltools.optimize.coreml as optimize

    limit = {"weight_threshold": SMALLEST_KERNEL - 1}  # coremltools compresses larger kernels
    if compression in SPARSITY:
        pruner = optimize.OpMagnitudePrunerConfig(target_sparsity=SPARSITY[compression], **limit)
        return optimize.prune_weights(model, optimize.OptimizationConfig(pruner))
    if compression == "int8":
        quantizer = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", **limit)
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(quantizer))
    if compression in BITS:
        bits = BITS[compression]
        palettizer = optimize.OpPalettizerConfig(mode="custom", lut_function=lambda x: palette(x, bits), **limit)
        return optimize.palettize_weights(model, optimize.OptimizationConfig(palettizer))
    return model
