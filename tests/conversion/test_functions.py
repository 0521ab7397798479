"""Every elementary function of the executor over the whole range of float32, against a wider type.

An answer is the reference rounded once: no digits cancel, nothing overflows on the way to a finite result, what is
different stays different as far as float32 can tell it apart, and NaN is never turned into a number.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from scipy.special import erf, ndtr

from conversion.runtime import functions, kernels
from conversion.runtime.mil_ops import elementwise as mil
from conversion.runtime.mil_ops import normalization as mil_normalization
from conversion.runtime.mil_ops.op import Constant, Op, Variable
from conversion.runtime.mil_values import TensorType
from conversion.runtime.nn_layers import elementwise as nn
from conversion.runtime.nn_layers import normalization as nn_normalization
from conversion.runtime.nn_layers import reduction as nn_reduction
from conversion.runtime.nn_layers.layer import Layer
from tests.support.layers import build_network, build_program, images, loaded, loaded_package

Wide = np.longdouble  # more digits than float64 where the processor has them
Reference = Callable[..., Any]

LARGEST = np.finfo(np.float32).max
SPECIAL = np.array([0.0, -0.0, 1, -1, 2, 0.5, -0.5, LARGEST, -LARGEST, np.inf, -np.inf, np.nan], np.float32)
ULPS = 1.0  # units in the last place of a float32 that an answer may be away from the reference


def whole_range() -> np.ndarray:
    """float32 of every exponent and both signs, subnormal ones and the special ones too, many between -120 and 120."""
    bits = np.arange(0, 2**32, 2**17 + 1, dtype=np.uint64).astype(np.uint32)
    return np.concatenate([SPECIAL, bits.view(np.float32), np.linspace(-120, 120, 20_001, dtype=np.float32)])


RANGE = whole_range()
POSITIVE = np.abs(RANGE)


def check(compute: Callable[..., Any], reference: Reference, *inputs: np.ndarray, ulps: float = ULPS) -> None:
    """Hold `compute` of float32 against `reference` of the same values in a wider type."""
    with np.errstate(all="ignore"):
        expected = np.asarray(reference(*(x.astype(Wide) for x in inputs)))
        rounded = expected.astype(np.float32)
        answer = np.asarray(compute(*inputs))
    assert answer.dtype in (np.float32, bool)
    answer = answer.astype(np.float32)
    assert answer.shape == rounded.shape
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(answer[~finite], rounded[~finite])
    # The largest float32 has no neighbour above it to measure the distance to.
    unit = np.spacing(np.minimum(np.abs(rounded[finite]), np.nextafter(LARGEST, np.float32(0)))).astype(Wide)
    away = np.abs(answer[finite].astype(Wide) - expected[finite]) / unit
    worst = away.argmax() if away.size else None
    assert worst is None or away[worst] <= ulps, (
        f"{answer[finite][worst]!r} for {expected[finite][worst]!r}: {away[worst]:.1f} units in the last place"
    )
    if expected.shape == inputs[0].shape:
        # Whatever fits in its place: whole rows where the function is of rows.
        known = np.isfinite(rounded) & np.all([np.isfinite(x) for x in inputs], axis=0)
        rows = known if known.ndim == 1 else known.all(axis=tuple(range(1, known.ndim)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing overflows on the way to what is finite
            compute(*(x[rows] for x in inputs))


def op(kind: str, *, rank: int = 1, reads: tuple[str, ...] = ("x",), **params: Any) -> Op:
    """An ML Program's operation with constant parameters; arrays are float32, and what it reads has `rank` axes."""
    given: dict[str, tuple[Any, ...]] = {}
    for name in reads:
        given[name] = (Variable(name, TensorType("FLOAT32", (1,) * rank)),)
    for name, value in params.items():
        values = np.array(value, object if isinstance(value, str) else None)
        values = values.astype(np.float32) if values.dtype.kind == "f" else values
        given[name] = (Constant(TensorType("FLOAT32", values.shape), values),)
    return Op("probe", kind, given, ("output",), (TensorType("FLOAT32", (1,)),))


def layer(kind: str, *, reads: int = 1, of: str = "", **params: Any) -> Layer:
    """A neuralnetwork's layer; `of` is the kind of an activation."""
    message = ct.proto.NeuralNetwork_pb2.NeuralNetworkLayer()
    stored = getattr(message, kind)
    stored.SetInParent()
    target = getattr(stored, of) if of else stored
    target.SetInParent()
    for name, value in params.items():
        if isinstance(value, np.ndarray):
            getattr(target, name).floatValue.extend(value.tolist())
        elif isinstance(value, list | tuple):
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)
    return Layer("probe", kind, stored, tuple(f"x{i}" for i in range(reads)), ("output",))


ALPHA, BETA = np.float32(0.3), np.float32(-1.7)
BOTH = {"alpha": ALPHA, "beta": BETA}
PAIR = (("x", "y"), 2)
ONE_CHANNEL = np.array([ALPHA]), np.array([BETA])


def sigmoid(x: Any) -> Any:
    return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


def softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def limited(compute: Reference) -> Reference:
    """x * share(x), which is 0 for minus infinity."""
    return lambda x: np.where(np.isneginf(x), 0, compute(x))


def tanh_gelu(x: Any) -> Any:
    return x * sigmoid(2 * np.sqrt(2 / Wide(np.pi)) * (x + 0.044715 * x**3))


GELUS = {
    "EXACT": limited(lambda x: x.astype(float) * ndtr(x.astype(float))),
    "TANH_APPROXIMATION": limited(tanh_gelu),
    "SIGMOID_APPROXIMATION": limited(lambda x: x * sigmoid(1.702 * x)),
}


def leaky(x: Any, alpha: Any = ALPHA) -> Any:
    return np.where(x < 0, Wide(alpha) * x, x)


def elu(x: Any) -> Any:
    return np.where(x < 0, Wide(ALPHA) * np.expm1(np.minimum(x, 0)), x)


def softsign(x: Any) -> Any:
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def affine(x: Any) -> Any:
    return Wide(ALPHA) * x + Wide(BETA)


def threshold(x: Any) -> Any:
    return np.where(x < ALPHA, 0, x)


def logical(compute: Callable[[Any, Any], Any]) -> Reference:
    return lambda x, y: compute(x != 0, y != 0)


PLAIN: dict[str, tuple[str, Reference]] = {  # what both formats call by one name or two
    "abs": ("", np.abs),
    "acos": ("acos", np.arccos),
    "acosh": ("acosh", np.arccosh),
    "asin": ("asin", np.arcsin),
    "asinh": ("asinh", np.arcsinh),
    "atan": ("atan", np.arctan),
    "atanh": ("atanh", np.arctanh),
    "ceil": ("ceil", np.ceil),
    "cos": ("cos", np.cos),
    "cosh": ("cosh", np.cosh),
    "erf": ("erf", lambda x: erf(x.astype(float))),
    "exp": ("", np.exp),
    "exp2": ("exp2", np.exp2),
    "floor": ("floor", np.floor),
    "identity": ("", lambda x: x),
    "logical_not": ("logicalNot", lambda x: x == 0),
    "relu": ("", lambda x: np.maximum(x, 0)),
    "relu6": ("", lambda x: np.clip(x, 0, 6)),
    "round": ("", np.rint),
    "sigmoid": ("", sigmoid),
    "sign": ("sign", np.sign),
    "silu": ("", limited(lambda x: x * sigmoid(x))),
    "sin": ("sin", np.sin),
    "sinh": ("sinh", np.sinh),
    "softplus": ("", softplus),
    "softsign": ("", softsign),
    "sqrt": ("", np.sqrt),
    "square": ("", np.square),
    "tan": ("tan", np.tan),
    "tanh": ("tanh", np.tanh),
}
BINARY: dict[str, tuple[str, Reference]] = {
    "add": ("addBroadcastable", np.add),
    "equal": ("equal", np.equal),
    "floor_div": ("floorDivBroadcastable", np.floor_divide),
    "greater": ("greaterThan", np.greater),
    "greater_equal": ("greaterEqual", np.greater_equal),
    "less": ("lessThan", np.less),
    "less_equal": ("lessEqual", np.less_equal),
    "logical_and": ("logicalAnd", logical(np.logical_and)),
    "logical_or": ("logicalOr", logical(np.logical_or)),
    "logical_xor": ("logicalXor", logical(np.logical_xor)),
    "maximum": ("maxBroadcastable", np.maximum),
    "minimum": ("minBroadcastable", np.minimum),
    "mod": ("modBroadcastable", np.mod),
    "mul": ("multiplyBroadcastable", np.multiply),
    "not_equal": ("notEqual", np.not_equal),
    "pow": ("powBroadcastable", np.power),
    "real_div": ("divideBroadcastable", np.divide),
    "sub": ("subtractBroadcastable", np.subtract),
}


IN_FLOAT32 = {"silu": 4.0}  # units in the last place of what is not computed in float64


def mil_case(kind: str, *, reads: tuple[str, ...] = ("x",), **params: Any) -> Callable[..., Any]:
    return mil.OPS[kind](op(kind, rank=3, reads=reads, **params))


def nn_case(kind: str, *, reads: int = 1, of: str = "", **params: Any) -> Callable[..., Any]:
    return nn.LAYERS[kind](layer(kind, reads=reads, of=of, **params))


def unary(kind: str, **params: Any) -> Callable[..., Any]:
    types = ct.proto.NeuralNetwork_pb2.UnaryFunctionLayerParams
    return nn_case("unary", type=getattr(types, kind), **params)


def activation(kind: str, **params: Any) -> Callable[..., Any]:
    return nn_case("activation", of=kind, **params)


def cases() -> Iterator[tuple[str, Callable[..., Any], Reference, np.ndarray]]:
    """Name, function, reference, and what it is tried on, of everything elementwise that the executor knows."""
    for kind, (twin, reference) in PLAIN.items():
        if kind in mil.OPS:
            yield kind, mil_case(kind), reference, RANGE
        if twin:
            yield f"nn {twin}", nn_case(twin), reference, RANGE
    for mode, reference in GELUS.items():
        yield f"gelu {mode}", mil_case("gelu", mode=mode), reference, RANGE
        modes = ct.proto.NeuralNetwork_pb2.GeluLayerParams
        yield f"nn gelu {mode}", nn_case("gelu", mode=getattr(modes, mode)), reference, RANGE
    per_channel = {"alpha": np.array([ALPHA]), "beta": np.array([BETA])}
    parametric = lambda x: Wide(ALPHA) * softplus(Wide(BETA) * x)  # noqa: E731
    clamped = lambda x: np.minimum(leaky(x), Wide(LARGEST / 2))  # noqa: E731
    above = {"alpha": ALPHA, "beta": np.float32(LARGEST / 2)}
    hard = lambda x: np.clip(affine(x), 0, 1)  # noqa: E731
    scaled = lambda x: Wide(ALPHA) * np.tanh(Wide(BETA) * x)  # noqa: E731
    # Parameters larger than one, so that a product of what is large overflows.
    yield "clamped_relu", mil_case("clamped_relu", **above), clamped, RANGE
    yield "clip", mil_case("clip", alpha=BETA, beta=ALPHA), lambda x: np.clip(x, BETA, ALPHA), RANGE
    yield "elu", mil_case("elu", alpha=ALPHA), elu, RANGE
    yield "leaky_relu", mil_case("leaky_relu", alpha=ALPHA), leaky, RANGE
    yield "leaky_relu, steep", mil_case("leaky_relu", alpha=np.float32(3)), lambda x: leaky(x, 3), RANGE
    yield "linear_activation", mil_case("linear_activation", **BOTH), affine, RANGE
    yield "prelu", mil_case("prelu", alpha=per_channel["alpha"]), leaky, RANGE
    yield "scaled_tanh", mil_case("scaled_tanh", **BOTH), scaled, RANGE
    yield "sigmoid_hard", mil_case("sigmoid_hard", **BOTH), hard, RANGE
    yield "softplus_parametric", mil_case("softplus_parametric", **per_channel), parametric, RANGE
    yield "thresholded_relu", mil_case("thresholded_relu", alpha=ALPHA), threshold, RANGE
    yield "threshold", mil_case("threshold", alpha=ALPHA), lambda x: np.maximum(x, ALPHA), RANGE
    yield "cast", mil_case("cast", dtype="int32"), np.trunc, RANGE
    for epsilon in (1e-45, 1e-4, 1):
        amount = np.float32(epsilon)
        exact = lambda x, amount=amount: x + Wide(amount)  # noqa: E731
        logarithm = np.log1p if epsilon == 1 else lambda x, exact=exact: np.log(exact(x))
        yield f"log {epsilon}", mil_case("log", epsilon=amount), logarithm, RANGE
        yield f"nn LOG {epsilon}", unary("LOG", epsilon=epsilon), logarithm, RANGE
        if epsilon > 1e-40:
            for kind, inverse in (("inverse", lambda x: 1 / x), ("rsqrt", lambda x: 1 / np.sqrt(x))):
                inverted = lambda x, exact=exact, inverse=inverse: inverse(exact(x))  # noqa: E731
                yield f"{kind} {epsilon}", mil_case(kind, epsilon=amount), inverted, RANGE
                yield f"nn {kind} {epsilon}", unary(kind.upper(), epsilon=epsilon), inverted, RANGE
    for kind, reference in (
        ("SQRT", np.sqrt),
        ("EXP", np.exp),
        ("ABS", np.abs),
        ("THRESHOLD", lambda x: np.maximum(x, 0)),
    ):
        yield f"nn {kind}", unary(kind), reference, RANGE
        shifted = lambda x, reference=reference: reference(affine(x))  # noqa: E731
        yield f"nn {kind}, shifted", unary(kind, scale=float(ALPHA), shift=float(BETA)), shifted, RANGE
    yield "nn POWER 2", unary("POWER", alpha=2), np.square, RANGE
    yield "nn POWER 2.5", unary("POWER", alpha=2.5), lambda x: np.power(x, Wide(2.5)), RANGE
    yield "nn linear", activation("linear", **numbers(BOTH)), affine, RANGE
    yield "nn ReLU", activation("ReLU"), lambda x: np.maximum(x, 0), RANGE
    yield "nn leakyReLU", activation("leakyReLU", alpha=float(ALPHA)), leaky, RANGE
    yield "nn thresholdedReLU", activation("thresholdedReLU", alpha=float(ALPHA)), threshold, RANGE
    yield "nn tanh activation", activation("tanh"), np.tanh, RANGE
    yield "nn scaledTanh", activation("scaledTanh", **numbers(BOTH)), scaled, RANGE
    yield "nn sigmoid", activation("sigmoid"), sigmoid, RANGE
    yield "nn sigmoidHard", activation("sigmoidHard", **numbers(BOTH)), hard, RANGE
    yield "nn ELU", activation("ELU", alpha=float(ALPHA)), elu, RANGE
    yield "nn softsign", activation("softsign"), softsign, RANGE
    yield "nn softplus", activation("softplus"), softplus, RANGE
    yield "nn PReLU", activation("PReLU", alpha=ONE_CHANNEL[0]), leaky, RANGE
    yield (
        "nn parametricSoftplus",
        activation("parametricSoftplus", alpha=ONE_CHANNEL[0], beta=ONE_CHANNEL[1]),
        parametric,
        RANGE,
    )
    yield "nn clip", nn_case("clip", minVal=float(BETA), maxVal=float(ALPHA)), lambda x: np.clip(x, BETA, ALPHA), RANGE
    yield "nn clampedReLU", nn_case("clampedReLU", **numbers(above)), clamped, RANGE
    yield "nn bias", nn_case("bias", shape=[1], bias=ONE_CHANNEL[0]), lambda x: x + Wide(ALPHA), RANGE
    stored = {"shapeScale": [1], "scale": ONE_CHANNEL[0], "hasBias": True, "shapeBias": [1], "bias": ONE_CHANNEL[1]}
    yield "nn scale", nn_case("scale", **stored), affine, RANGE


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """As a message takes them."""
    return {name: float(value) for name, value in values.items()}


CASES = list(cases())


@pytest.mark.parametrize(("name", "compute", "reference", "values"), CASES, ids=[case[0] for case in CASES])
def test_a_function_over_the_whole_range(
    name: str, compute: Callable, reference: Reference, values: np.ndarray
) -> None:
    if name in IN_FLOAT32:  # where exp(x) is a subnormal number, its product with x has lost its last places
        values = values[~((values > -112) & (values < -87))]
    check(lambda x: flat(compute, x), reference, values, ulps=IN_FLOAT32.get(name, ULPS))


def flat(compute: Callable[..., Any], *inputs: np.ndarray) -> np.ndarray:
    """Call with what a blob (1, 1 channel, 1 row, columns) holds."""
    return np.asarray(compute(*(x.reshape(1, 1, 1, -1) for x in inputs))).reshape(-1)


def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pairs of float32 from the whole range, close ones and special ones."""
    rng = np.random.default_rng(0)
    x = rng.permutation(RANGE)
    near = x * rng.uniform(0.99, 1.01, x.shape).astype(np.float32)
    with np.errstate(all="ignore"):
        special = [grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL)]
        return np.concatenate([x, x, special[0]]), np.concatenate([rng.permutation(x), near, special[1]])


PAIRS = {
    **{kind: (mil_case(kind, reads=("x", "y")), reference) for kind, (_, reference) in BINARY.items()},
    **{f"nn {twin}": (nn_case(twin, reads=2), reference) for twin, reference in BINARY.values()},
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("compute", "reference"), PAIRS.values(), ids=PAIRS)
def test_a_function_of_two_over_the_whole_range(compute: Callable, reference: Reference) -> None:
    with np.errstate(all="ignore"):
        check(lambda x, y: flat(compute, x, y), reference, *pairs())


REDUCED = {
    "SUM": np.sum,
    "AVG": np.mean,
    "PROD": np.prod,
    "SUMSQUARE": lambda x, **options: np.square(x).sum(**options),
    "L1": lambda x, **options: np.abs(x).sum(**options),
    "L2": lambda x, **options: np.sqrt(np.square(x).sum(**options)),
    "MAX": np.max,
    "MIN": np.min,
    "LOGSUM": lambda x, **options: np.log(x.sum(**options)),
    "LOGSUMEXP": lambda x, **options: x.max(**options) + np.log(np.exp(x - x.max(**options)).sum(**options)),
}


def rows() -> np.ndarray:
    """(rows, 6) of one sign, one row after the other of every size, and the largest."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.arange(-44, 39)[:, None]
    return np.concatenate([(rng.uniform(0.5, 1, (83, 6)) * sizes), np.full((1, 6), LARGEST)]).astype(np.float32)


@pytest.mark.parametrize("name", functions.REDUCTIONS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_reduction_of_every_size(name: str) -> None:
    for values in (rows(), -rows(), rows()[:, :1] * np.float32([1, -1, 1, -1, 1, -1])):
        check(
            lambda x: functions.REDUCTIONS[name](x, (1,)),
            lambda x: REDUCED[name](x, axis=1, keepdims=True),
            values,
        )


def test_a_product_whose_way_leads_out_of_float32() -> None:
    values = np.float32([[1e30, 1e30, 1e-30, 1e-20]])
    assert functions.REDUCTIONS["PROD"](values, (1,)) == pytest.approx(1e10)
    assert functions.REDUCTIONS["SUM"](np.float32([[3e38, 3e38, -3e38]]), (1,)) == np.float32(3e38)


def test_the_first_generations_logarithms_of_every_size() -> None:
    params = ct.proto.NeuralNetwork_pb2.ReduceLayerParams
    stored = layer("reduce", mode=params.LOGSUM, axis=params.W, epsilon=1e-6)
    run = nn_reduction.LAYERS["reduce"](stored)
    epsilon = Wide(np.float32(1e-6))
    check(
        lambda x: run(x[:, None, None])[:, 0, 0],
        lambda x: np.log(x + epsilon).sum(axis=1, keepdims=True),
        rows(),
        ulps=2,
    )


def wide_softmax(x: Any) -> Any:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_softmax_over_the_whole_range() -> None:
    finite = np.random.default_rng(0).permutation(RANGE[np.isfinite(RANGE)])
    values = [finite[: finite.size // 6 * 6].reshape(-1, 6), np.linspace(-120, 0, 600, dtype=np.float32).reshape(-1, 6)]
    for each in values:
        check(lambda x: functions.softmax(x, 1), wide_softmax, each)
    known = functions.softmax(np.float32([[0, -np.inf, 0]]), 1)
    assert known.tolist() == [[0.5, 0, 0.5]]


def test_probabilities_that_differ_stay_different() -> None:
    """The most probable of several improbable labels is still the most probable one."""
    logits = np.arange(-103, 16, 0.25, dtype=np.float32)
    assert (np.diff(functions.sigmoid(logits)[8:]) > 0).all()
    assert (np.diff(functions.softmax(np.append(logits, np.float32(20))[None], 1)[0, 120:]) > 0).all()


NORMALIZED = {
    "MIL layer_norm": mil_normalization.OPS["layer_norm"](
        op("layer_norm", rank=3, axes=np.array([-1]), epsilon=np.float32(1e-6))
    ),
    "nn mvn": nn_normalization.LAYERS["mvn"](layer("mvn", normalizeVariance=True, epsilon=1e-6)),
}


@pytest.mark.parametrize("run", NORMALIZED.values(), ids=NORMALIZED)
@pytest.mark.parametrize(("mean", "spread"), [(0, 1), (1e6, 1), (1, 1e-5), (0, 1e30), (-3e38, 3e37), (0, 1e-30)])
def test_normalisation_of_values_far_from_zero(run: Callable, mean: float, spread: float) -> None:
    def reference(x: Any) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + Wide(np.float32(1e-6)))

    values = (mean + spread * np.random.default_rng(0).uniform(-1, 1, (5, 1, 1, 40))).astype(np.float32)
    expected = reference(values.astype(Wide))
    np.testing.assert_allclose(run(values), expected.astype(np.float64), rtol=1e-6, atol=1e-7 * np.abs(expected).max())


STATISTICS = {"mean": 1000.0, "variance": 1e-4, "gamma": 1.5, "beta": 0.25}


def test_batch_normalisation_of_values_far_from_zero() -> None:
    stored = {name: np.array([value], np.float32) for name, value in STATISTICS.items()}
    values = (1000 + np.random.default_rng(0).uniform(-0.05, 0.05, (1, 1, 1, 200))).astype(np.float32)
    runs = (
        mil_normalization.OPS["batch_norm"](op("batch_norm", rank=3, epsilon=np.float32(1e-5), **stored)),
        nn_normalization.LAYERS["batchnorm"](layer("batchnorm", channels=1, epsilon=1e-5, **stored)),
    )
    mean, variance, gamma, beta = (Wide(values[0]) for values in stored.values())
    expected = (values.astype(Wide) - mean) * gamma / np.sqrt(variance + Wide(np.float32(1e-5))) + beta
    for run in runs:
        np.testing.assert_allclose(run(values), expected.astype(np.float64), rtol=3e-7, atol=3e-7)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_lengths_of_every_size() -> None:
    def reference(x: Any) -> Any:
        return x / np.sqrt(np.square(x).sum(axis=1, keepdims=True) + Wide(np.float32(1e-6)))

    stored = layer("l2normalize", epsilon=1e-6)
    for run in (
        mil_normalization.OPS["l2_norm"](op("l2_norm", rank=3, epsilon=np.float32(1e-6))),
        nn_normalization.LAYERS["l2normalize"](stored),
    ):
        check(lambda x, run=run: run(x[:, None, None, None])[:, 0, 0, 0], reference, rows())


def test_neighbours_beside_something_large() -> None:
    """What is small is not lost behind what is large and outside its window."""
    values = np.array([1e19, 2e-3, 1, 2, 3, 4, 1e-4], np.float32)
    squares = np.square(values.astype(Wide))
    near = [squares[max(0, i - 1) : i + 2].sum() for i in range(7)]
    expected = values / (2 + Wide(0.5) / 3 * np.array(near)) ** Wide(0.75)
    found = functions.local_response(values.reshape(1, 7), 1, size=3, alpha=0.5, beta=0.75, k=2)
    np.testing.assert_allclose(found[0], expected.astype(np.float64), rtol=1e-6)
    one = functions.local_response(values.reshape(1, 7), 1, size=2**31 - 1, alpha=1.0, beta=0.5, k=0)
    assert one[0, 0] == pytest.approx((2**31 - 1) ** 0.5)  # a window wider than the axis is all of it


@pytest.mark.parametrize("mode", ["AVERAGE", "L2", "MAX"])
def test_pooling_of_every_size(mode: str) -> None:
    reduced = {"AVERAGE": np.mean, "L2": REDUCED["L2"], "MAX": np.max}[mode]
    values = rows() if mode != "L2" else rows()[:-1] / 4
    check(
        lambda x: kernels.pool2d(x.reshape(-1, 1, 2, 3), mode, window=(2, 3), stride=(1, 1)).reshape(-1, 1),
        lambda x: reduced(x, axis=1, keepdims=True),
        values,
    )


def test_resampling_between_the_largest_values() -> None:
    values = np.float32([[[LARGEST, -LARGEST, np.inf]]])
    found = functions.resize_bilinear(values, (1, 5), "ALIGN_CORNERS_TRUE")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, 0, [0, 1, 2, 4]], np.float32([LARGEST, 0, -LARGEST, np.inf]))


def test_attention_to_large_keys(tmp_path: Path) -> None:
    """The scale comes before the sum, so that this stays inside float32."""

    def write(x: Any) -> Any:
        q = mb.add(
            x=mb.mul(x=mb.reshape(x=x, shape=[1, 2, 3]), y=np.float32(0)), y=np.full((1, 2, 3), 1e19, np.float32)
        )
        k = np.full((1, 2, 3), 1e19, np.float32) * np.float32([[[1], [0]]])
        v = np.float32([[[1, 2, 3], [4, 5, 6]]])
        return mb.reshape(x=mb.scaled_dot_product_attention(query=q, key=k, value=v), shape=[1, 6])

    answer = loaded_package(build_program(write, shape=(1, 2, 3)), tmp_path).probabilities(images((2, 3, 1)))
    np.testing.assert_array_equal(answer[0], [1, 2, 3, 1, 2, 3])


def test_every_elementary_function_is_tried() -> None:
    tried = {name.removeprefix("nn ").partition(" ")[0].rstrip(",") for name, *_ in CASES} | {
        name.removeprefix("nn ") for name in PAIRS
    }
    elsewhere = {"select", "whereBroadcastable", "activation", "unary", "add", "average", "max", "min", "multiply"}
    assert set(mil.OPS) - tried - elsewhere == set()
    assert set(nn.LAYERS) - tried - elsewhere == set()


SEVERAL = {  # layers of any number of inputs
    "add": (lambda *blobs: sum(blobs), np.float32([3e38, 3e38, -3e38])),
    "average": (lambda *blobs: sum(blobs) / 3, np.float32([3e38, 3e38, 1e38])),
    "max": (lambda *blobs: np.maximum.reduce(blobs), np.float32([1, 3, 2])),
    "min": (lambda *blobs: np.minimum.reduce(blobs), np.float32([2, 1, 3])),
    "multiply": (lambda a, b, c: a * b * c, np.float32([1e30, 1e30, 1e-40])),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_function_of_several(kind: str) -> None:
    reference, values = SEVERAL[kind]
    run = nn_case(kind, reads=3)
    check(lambda *blobs: flat(run, *blobs), reference, *values[:, None])
    alone = nn_case(kind, reads=1, **({"alpha": 2} if kind in ("add", "multiply") else {}))
    expected = {"add": 5, "multiply": 6}.get(kind, 3)
    assert flat(alone, np.float32([3])).tolist() == [expected]


@pytest.mark.parametrize("format", ["mlmodel", "mlpackage"])
def test_the_label_of_a_network_that_is_sure_of_none(format: str, tmp_path: Path) -> None:
    """Each of several labels has a probability of its own, and all may be small."""
    weights = np.float32([[0], [0], [0]])
    logits = np.float32([-40, -25, -30])
    if format == "mlmodel":

        def write(b: Any) -> None:
            b.add_inner_product("dense", weights, logits, 1, 3, True, "image", "logits")
            b.add_activation("sigmoid", "SIGMOID", "logits", "output")

        file = loaded(build_network(write, outputs=3, shape=(1, 1, 1)), tmp_path)
    else:
        file = loaded_package(
            build_program(
                lambda x: mb.sigmoid(x=mb.linear(x=mb.reshape(x=x, shape=[1, 1]), weight=weights, bias=logits)),
                shape=(1, 1, 1),
            ),
            tmp_path,
        )
    answer = file.predict(np.zeros((1, 1, 1, 1), np.uint8))
    assert answer.labels == ["1"]
    np.testing.assert_allclose(answer.probabilities[0], 1 / (1 + np.exp(-logits.astype(float))), rtol=1e-6)
