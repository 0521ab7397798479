"""The executor gives what Keras gives for single layers and blocks, converted to ML Programs and saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import pytest

from tests.conversion.test_runtime_probes import COLOURED, CONVERSION_ERRORS, PROBES, TOLERANCE, group_of, model_of
from tests.support.layers import convert_program, images, loaded_package

HALF_PRECISION = [
    "conv_same",
    "residual",
    "attention",
    "average_pool_same",
    "dense_on_planes",
    "gelu_tanh",
    "relu_limits",
]
HALF_TOLERANCE = 2e-3  # constants are stored in float16; activations are not rounded

Answers = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What the saved package and Keras give for one probe of a model of several."""

    @cache
    def converted(names: tuple[str, ...], shape: tuple[int, int, int], precision: str) -> tuple[list, list]:
        model = model_of(list(names), shape)
        package = convert_program(keras.Model(model.input, model.outputs[-1]), precision=precision)
        pixels = images(shape)
        expected = [values.numpy() for values in model(pixels.astype(np.float32) / 255)[: len(names)]]
        answer = loaded_package(package, tmp_path_factory.mktemp("probes")).probabilities(pixels)
        ends = np.cumsum([values.shape[1] for values in expected])
        assert answer.shape[1] == ends[-1]
        return np.split(answer, ends[:-1], axis=1), expected

    def of(
        name: str, names: list[str], shape: tuple[int, int, int] = (8, 10, 1), precision: str = "FLOAT32"
    ) -> tuple[np.ndarray, np.ndarray]:
        answer, expected = converted(tuple(names), shape, precision)
        index = names.index(name)
        return answer[index], expected[index]

    return of


def assert_equal(answer: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert expected.std() > 1e-3, "a probe that gives one value shows nothing"
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", PROBES)
def test_layer(name: str, answers: Answers) -> None:
    assert_equal(*answers(name, group_of(name)), tolerance=CONVERSION_ERRORS.get(name, TOLERANCE))


@pytest.mark.parametrize("name", COLOURED)
def test_colour_images(name: str, answers: Answers) -> None:
    assert_equal(*answers(name, COLOURED, (7, 9, 3)), tolerance=TOLERANCE)


@pytest.mark.parametrize("name", HALF_PRECISION)
def test_half_precision(name: str, answers: Answers) -> None:
    assert_equal(*answers(name, HALF_PRECISION, precision="FLOAT16"), tolerance=HALF_TOLERANCE)
