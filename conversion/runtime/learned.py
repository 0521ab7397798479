"""Classical models: linear, support vectors, trees, and the preprocessing of their features.

Each takes features (N, D), and computes in float64 as described in `Model.proto`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import scipy

from conversion.runtime.limits import Unsupported, bounded

Matrix = np.ndarray  # float64
LEAST_PAIRWISE = 1e-7  # probability between two classes; LIBSVM uses the same bound


def _sigmoid(x: Matrix) -> Matrix:
    return scipy.special.expit(x)


def numbers(stored: Any) -> Matrix:
    return np.fromiter(stored, np.float64, len(stored))


def width(x: Matrix, expected: int) -> None:
    """Check the number of features."""
    if x.shape[1] != expected:
        raise ValueError(f"it reads {x.shape[1]} features, not {expected}")


def scaled(p: Any) -> Callable[[Matrix], Matrix]:
    """(x + shift) * scale."""
    shift = numbers(p.shiftValue) if len(p.shiftValue) else np.zeros(1)
    scale = numbers(p.scaleValue) if len(p.scaleValue) else np.ones(1)

    def run(x: Matrix) -> Matrix:
        for values in (shift, scale):
            if values.size not in (1, x.shape[1]):
                raise ValueError(f"it has {values.size} numbers for {x.shape[1]} features")
        return (x + shift) * scale

    return run


def normalized(p: Any) -> Callable[[Matrix], Matrix]:
    """Divide each example by its norm, unless it is zero."""
    norm: dict[int, Callable[[Matrix], Matrix]] = {
        0: lambda x: np.abs(x).max(axis=1, keepdims=True),
        1: lambda x: np.abs(x).sum(axis=1, keepdims=True),
        2: lambda x: np.sqrt(np.square(x).sum(axis=1, keepdims=True)),
    }
    if p.normType not in norm:
        raise Unsupported(f"its norm is {p.normType}")

    def run(x: Matrix) -> Matrix:
        size = norm[p.normType](x)
        return np.divide(x, size, out=x.copy(), where=size != 0)

    return run


def imputed(p: Any) -> Callable[[Matrix], Matrix]:
    """Replace missing values: NaN, or the number that the file uses for them."""
    kind = p.WhichOneof("ImputedValue")
    stored = {
        "imputedDoubleValue": lambda: np.array([p.imputedDoubleValue]),
        "imputedInt64Value": lambda: np.array([float(p.imputedInt64Value)]),
        "imputedDoubleArray": lambda: numbers(p.imputedDoubleArray.vector),
        "imputedInt64Array": lambda: numbers(p.imputedInt64Array.vector),
    }
    if kind not in stored:
        raise Unsupported(f"it imputes {kind or 'nothing'}")
    values = stored[kind]()
    replaced = p.WhichOneof("ReplaceValue")
    if replaced == "replaceStringValue":
        raise Unsupported("it replaces a text")
    missing = math.nan if replaced is None else float(getattr(p, replaced))

    def run(x: Matrix) -> Matrix:
        if values.size not in (1, x.shape[1]):
            raise ValueError(f"it imputes {values.size} numbers for {x.shape[1]} features")
        return np.where(np.isnan(x) if math.isnan(missing) else x == missing, values, x)

    return run


def picked(p: Any) -> Callable[[Matrix], Matrix]:
    """Select features by index."""
    indices = np.fromiter(p.extractIndex, np.int64, len(p.extractIndex))

    def run(x: Matrix) -> Matrix:
        if not indices.size or indices.max() >= x.shape[1]:
            raise ValueError(f"it extracts {indices.max(initial=-1)} of {x.shape[1]} features")
        return x[:, indices]

    return run


def linear_scores(p: Any) -> Callable[[Matrix], Matrix]:
    """Return the scores (N, rows of weights) of a `GLMClassifier` or `GLMRegressor`."""
    rows = [numbers(row.value) for row in p.weights]
    offset = numbers(p.offset) if len(p.offset) else np.zeros(len(rows))
    if not rows or len({row.size for row in rows}) > 1 or not rows[0].size or offset.size != len(rows):
        raise ValueError(f"it has {len(rows)} rows of weights and {offset.size} offsets, or rows of different lengths")
    weights = np.array(rows)

    def run(x: Matrix) -> Matrix:
        width(x, weights.shape[1])
        return x @ weights.T + offset

    return run


def glm_regressor(p: Any) -> Callable[[Matrix], Matrix]:
    scores = linear_scores(p)
    transforms = {0: lambda x: x, 1: _sigmoid, 2: lambda x: scipy.special.ndtr(x)}
    if p.postEvaluationTransform not in transforms:
        raise Unsupported(f"its transform is {p.postEvaluationTransform}")
    return lambda x: transforms[p.postEvaluationTransform](scores(x))


def glm_classifier(p: Any, count: int) -> Callable[[Matrix], Matrix]:
    """Return probabilities (N, count)."""
    scores = linear_scores(p)
    if p.postEvaluationTransform not in (0, 1) or p.classEncoding not in (0, 1):
        raise Unsupported(f"its transform is {p.postEvaluationTransform}, its encoding {p.classEncoding}")
    probit = p.postEvaluationTransform == 1
    rows = len(p.weights)
    if count == 2 and rows == 1:

        def two(x: Matrix) -> Matrix:
            second = scipy.special.ndtr(scores(x)) if probit else _sigmoid(scores(x))
            return np.hstack([1 - second, second])

        return two
    one_for_each = p.classEncoding == 1
    if rows != (count if one_for_each else count - 1):
        raise ValueError(f"it has {rows} rows of weights for {count} classes")
    if not one_for_each and probit:
        raise Unsupported("it is a probit of several classes with a reference")

    def several(x: Matrix) -> Matrix:
        if one_for_each:
            shares = scipy.special.ndtr(scores(x)) if probit else _sigmoid(scores(x))
            return shares / shares.sum(axis=1, keepdims=True)
        return _softmax(np.hstack([np.zeros((len(x), 1)), scores(x)]))  # the first class is the reference

    return several


def _softmax(x: Matrix) -> Matrix:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _support_vectors(p: Any) -> Matrix:
    """Return the support vectors (number of vectors, D)."""
    kind = p.WhichOneof("supportVectors")
    if kind == "denseSupportVectors":
        rows = [numbers(vector.values) for vector in p.denseSupportVectors.vectors]
        if len({row.size for row in rows}) != 1:
            raise ValueError("its support vectors have different lengths, or there are none")
        return np.array(rows)
    if kind != "sparseSupportVectors" or not len(p.sparseSupportVectors.vectors):
        raise ValueError("it has no support vectors")
    vectors = p.sparseSupportVectors.vectors
    size = max((node.index for vector in vectors for node in vector.nodes), default=0)
    if min((node.index for vector in vectors for node in vector.nodes), default=1) < 1:
        raise ValueError("an index of its support vectors is not positive")
    dense = np.zeros(bounded((len(vectors), max(size, 1))))
    for row, vector in enumerate(vectors):
        for node in vector.nodes:
            dense[row, node.index - 1] = node.value
    return dense


def _kernel(p: Any, vectors: Matrix, *, sparse: bool) -> Callable[[Matrix], Matrix]:
    """Return kernel values (N, number of vectors)."""
    kind = p.kernel.WhichOneof("kernel")
    k: Any = getattr(p.kernel, kind) if kind else None

    def products(x: Matrix) -> Matrix:
        return x @ vectors.T

    def rbf(x: Matrix) -> Matrix:
        squares = np.array([np.square(vectors - row).sum(axis=1) for row in x])  # differences, to avoid cancellation
        return np.exp(-k.gamma * squares)

    kernels: dict[str, Callable[[Matrix], Matrix]] = {
        "linearKernel": products,
        "rbfKernel": rbf,
        "polyKernel": lambda x: (k.gamma * products(x) + k.c) ** k.degree,
        "sigmoidKernel": lambda x: np.tanh(k.gamma * products(x) + k.c),
    }
    if kind not in kernels:
        raise Unsupported("its kernel is unknown")

    def run(x: Matrix) -> Matrix:
        if sparse:  # features beyond those of the vectors are 0 in all vectors
            missing = x.shape[1] - vectors.shape[1]
            if missing < 0:
                raise ValueError(f"it reads {x.shape[1]} features, not {vectors.shape[1]}")
            if kind == "rbfKernel" and missing:
                beyond = np.square(x[:, vectors.shape[1] :]).sum(axis=1, keepdims=True)
                return rbf(x[:, : vectors.shape[1]]) * np.exp(-k.gamma * beyond)
            return kernels[kind](x[:, : vectors.shape[1]])
        width(x, vectors.shape[1])
        return kernels[kind](x)

    return run


def svm_regressor(p: Any) -> Callable[[Matrix], Matrix]:
    vectors = _support_vectors(p)
    kernel = _kernel(p, vectors, sparse=p.WhichOneof("supportVectors") == "sparseSupportVectors")
    alpha = numbers(p.coefficients.alpha)
    if alpha.size != len(vectors):
        raise ValueError(f"it has {alpha.size} coefficients for {len(vectors)} support vectors")
    return lambda x: (kernel(x) @ alpha - p.rho)[:, None]


def svm_classifier(p: Any, count: int) -> Callable[[Matrix], tuple[np.ndarray, Matrix | None]]:
    """Return the index of the label (N,), and the probabilities (N, count) if the file has what they need.

    Every pair of classes votes, as in LIBSVM's `svm_predict_values` and `svm_predict_probability`.
    """
    vectors = _support_vectors(p)
    kernel = _kernel(p, vectors, sparse=p.WhichOneof("supportVectors") == "sparseSupportVectors")
    counts = [int(number) for number in p.numberOfSupportVectorsPerClass]
    alpha = [numbers(each.alpha) for each in p.coefficients]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    rho, slope, shift = numbers(p.rho), numbers(p.probA), numbers(p.probB)
    if len(counts) != count or sum(counts) != len(vectors) or len(alpha) != count - 1 or rho.size != len(pairs):
        raise ValueError(f"its support vectors, coefficients and offsets are not those of {count} classes")
    if any(each.size != len(vectors) for each in alpha):
        raise ValueError("its coefficients are not one for each support vector")
    if slope.size != shift.size or slope.size not in (0, len(pairs)):
        raise ValueError(f"it has {slope.size} and {shift.size} numbers for the probabilities of {len(pairs)} pairs")
    ends = np.cumsum([0, *counts])
    own = [slice(first, last) for first, last in pairwise(ends.tolist())]

    def run(x: Matrix) -> tuple[np.ndarray, Matrix | None]:
        values = kernel(x)
        decisions = np.array(
            [
                values[:, own[i]] @ alpha[j - 1][own[i]] + values[:, own[j]] @ alpha[i][own[j]] - rho[place]
                for place, (i, j) in enumerate(pairs)
            ]
        )
        if slope.size:
            shares = _sigmoid(-(slope[:, None] * decisions + shift[:, None]))
            found = np.array([coupled(row, pairs, count) for row in shares.T])
            return found.argmax(axis=1), found
        votes = np.zeros((len(x), count), np.int64)
        for decision, (i, j) in zip(decisions, pairs, strict=True):
            votes[:, i] += decision > 0
            votes[:, j] += ~(decision > 0)
        return votes.argmax(axis=1), None

    return run


def coupled(shares: Matrix, pairs: list[tuple[int, int]], count: int) -> Matrix:
    """Return class probabilities from pairwise ones: Wu, Lin and Weng 2004, the second approach."""
    between = np.zeros((count, count))
    for share, (i, j) in zip(np.clip(shares, LEAST_PAIRWISE, 1 - LEAST_PAIRWISE), pairs, strict=True):
        between[i, j], between[j, i] = share, 1 - share
    if count == 2:
        return np.array([between[0, 1], between[1, 0]])
    q = -between.T * between
    np.fill_diagonal(q, np.square(between).sum(axis=0))
    found = np.full(count, 1 / count)
    for _ in range(max(100, count)):
        products = q @ found
        total = found @ products
        if np.abs(products - total).max() < 0.005 / count:
            break
        for t in range(count):
            step = (total - products[t]) / q[t, t]
            found[t] += step
            total = (total + step * (step * q[t, t] + 2 * products[t])) / (1 + step) ** 2
            products = (products + step * q[t]) / (1 + step)
            found /= 1 + step
    return found


BRANCHES: Mapping[int, Callable[[np.ndarray, float], np.ndarray]] = {
    0: np.less_equal,
    1: np.less,
    2: np.greater_equal,
    3: np.greater,
    4: np.equal,
    5: np.not_equal,
}
LEAF = 6


def trees(p: Any) -> Callable[[Matrix], Matrix]:
    """Return the sums over all trees (N, dimensions) of a `TreeEnsembleParameters` message."""
    (dimensions,) = bounded((p.numPredictionDimensions,))
    base = numbers(p.basePredictionValue) if len(p.basePredictionValue) else np.zeros(dimensions)
    if base.size != dimensions:
        raise ValueError(f"it has {base.size} base values for {dimensions} dimensions")
    nodes: dict[int, dict[int, Any]] = {}
    for node in p.nodes:
        if node.nodeId in nodes.setdefault(node.treeId, {}):
            raise ValueError(f"its tree {node.treeId} has the node {node.nodeId} twice")
        nodes[node.treeId][node.nodeId] = node
    planted = [(tree, _root(tree)) for tree in nodes.values()]
    leaves = [node for tree in nodes.values() for node in tree.values() if node.nodeBehavior == LEAF]
    if any(each.evaluationIndex >= dimensions for leaf in leaves for each in leaf.evaluationInfo):
        raise ValueError(f"a leaf adds to more than its {dimensions} dimensions")

    def run(x: Matrix) -> Matrix:
        out = np.tile(base, (len(x), 1))
        for tree, root in planted:
            waiting = [(root, np.arange(len(x)))]
            while waiting:
                node, rows = waiting.pop()
                if node.nodeBehavior == LEAF:
                    for each in node.evaluationInfo:
                        out[rows, each.evaluationIndex] += each.evaluationValue
                    continue
                if node.branchFeatureIndex >= x.shape[1]:
                    raise ValueError(f"it asks for the feature {node.branchFeatureIndex} of {x.shape[1]}")
                values = x[rows, node.branchFeatureIndex]
                true = BRANCHES[node.nodeBehavior](values, node.branchFeatureValue)
                true = np.where(np.isnan(values), node.missingValueTracksTrueChild, true)
                for child, chosen in ((node.trueChildNodeId, true), (node.falseChildNodeId, ~true)):
                    if chosen.any():
                        waiting.append((tree[child], rows[chosen]))
        return out

    return run


def _root(tree: Mapping[int, Any]) -> Any:
    """Return the root of a tree; raise ValueError if the nodes are not a tree."""
    children: list[int] = []
    for node in tree.values():
        if node.nodeBehavior == LEAF:
            continue
        if node.nodeBehavior not in BRANCHES:
            raise Unsupported(f"a node's behaviour is {node.nodeBehavior}")
        children += [node.trueChildNodeId, node.falseChildNodeId]
    roots = tree.keys() - set(children)
    if len(roots) != 1 or len(set(children)) != len(children) or not tree.keys() >= set(children):
        raise ValueError("its nodes do not form a tree")
    return tree[roots.pop()]


def tree_transform(kind: int) -> Callable[[Matrix], Matrix]:
    """Return the transformation of the sums."""
    transforms: dict[int, Callable[[Matrix], Matrix]] = {
        0: lambda x: x,
        1: _softmax,
        2: _sigmoid,
        3: lambda x: _softmax(np.hstack([np.zeros((len(x), 1)), x])),
    }
    if kind not in transforms:
        raise Unsupported(f"its transform is {kind}")
    return transforms[kind]
