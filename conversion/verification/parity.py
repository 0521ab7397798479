"""Compare the predictions of a file and a model, and measure how far apart rounding alone may move them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from conversion.runtime import NotCheckable
from experiments.classifier import forward_function, predict
from experiments.datasets import Split

if TYPE_CHECKING:
    import keras

Answers = Mapping[str, npt.NDArray[np.float32]]  # probabilities by the split's name
Forward = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]

# A file and its model compute the same sums in different order. Both deviate from the exact result, by amounts that
# depend on the network: 1e-7 if it is shallow, 7e-5 in MobileNetV2. The model's own deviation is measured. Correct
# files of deep networks deviated up to 1.5 times as much from the model (benchmarks/rounding.py). A wrong image scale
# of 1/256 on 28x28 pixels makes more than 200 times as much (tests/conversion/test_verify.py).
ROUNDINGS = 10
LEAST_ALLOWANCE = 2.0**-20  # of a probability: eight float32 steps at 1, for networks that hardly round
HARDEST = 32  # images of each split that are computed exactly: those with the largest differences
EXACT_BYTES = 2**16  # of the images computed at once; one of 224x224 fills enough memory in float64
FLIPPED_SHOWN = 20  # images with another top-1 label that the evidence names

FILE = "file"  # the file being verified
UNCOMPRESSED = "uncompressed conversion"  # of its model


@dataclass(frozen=True)
class Flip:
    """An image that file and model label differently."""

    index: int  # in the split
    true_label: int
    model_label: int
    file_label: int


@dataclass(frozen=True)
class Parity:
    """A file compared with a model on one split."""

    split: str
    images: int
    max_difference: float  # of a probability
    mean_difference: float  # of a probability
    label_flips: int  # number of images with another top-1 label
    flipped: tuple[int, ...]  # their first indices in the split
    file_accuracy: float  # of the executed file
    model_accuracy: float  # of the Keras model
    flips: tuple[Flip, ...] = ()  # the images of `flipped`
    executed: str = FILE  # or UNCOMPRESSED, or an arithmetic's name
    rounding: float | None = None  # of a probability: the float32 error of the model itself; None: not measured
    allowance: float | None = None  # of a probability: the largest difference that rounding explains; None: any

    @property
    def faults(self) -> tuple[str, ...]:
        """Faults in words; empty if the difference is allowed. Labels may then differ only where two classes tie."""
        if self.allowance is None or self.max_difference <= self.allowance:  # false for NaN
            return ()
        subject = "" if self.executed == FILE else f" of the {self.executed}"
        found: tuple[str, ...] = (
            f"probabilities{subject} differ from the model's by up to {self.max_difference:.2e} on {self.split} "
            f"images, at most {self.allowance:.1e} is allowed in this network",
        )
        if self.label_flips:
            found += (f"{self.label_flips} of {self.images} {self.split} images get another label{subject}",)
        return found


def parities(
    splits: Mapping[str, Split], executed: Answers, forward: Forward, exact: Forward | None = None
) -> tuple[Parity, ...]:
    """Compare a file's predictions with a model's, on each split.

    Args:
        splits: images and labels by name.
        forward: the model in float32.
        exact: the model in float64, for computing the allowance; None allows any difference.
    """
    expected = {name: predict(forward, split.images) for name, split in splits.items()}
    rounding = None if exact is None else _rounding(splits, executed, expected, exact)
    return tuple(
        _parity(name, executed[name], expected[name], split.labels, rounding) for name, split in splits.items()
    )


def arithmetics(split: Split, computed: Answers, forward: Forward) -> tuple[Parity, ...]:
    """Compare a file's predictions in several arithmetics with those of a model in float32.

    Args:
        split: validation images and labels.
        computed: probabilities by the arithmetic's name; NaN counts as 0.
    """
    expected = predict(forward, split.images)
    found = []
    for name, answers in computed.items():
        numbers = np.nan_to_num(answers, nan=0.0, posinf=1.0, neginf=0.0)
        found.append(replace(_parity("val", numbers, expected, split.labels, None), executed=name))
    return tuple(found)


def in_float64(classifier: keras.Model) -> Forward:
    """Return a function that computes a classifier in float64, from uint8 images (N, height, width, channels).

    The classifier is built again from its configuration, and gets the current weights at each call.

    Raises:
        NotCheckable: here or on a call, for a network that requires float32.
    """
    with _explained():
        exact = type(classifier).from_config(_widened(classifier.get_config()))
        forward = forward_function(exact)

    def in_float64(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        exact.set_weights(classifier.get_weights())
        with _explained():
            return forward(images)

    return in_float64


@contextmanager
def _explained() -> Iterator[None]:
    """Convert any error to NotCheckable."""
    try:
        yield
    except Exception as error:  # layers may raise anything
        reason = " ".join(str(error).split())[:300]
        raise NotCheckable(f"how far the network rounds is not known: in float64 it fails: {reason}") from error


def _widened(configuration: Any) -> Any:
    """Return a Keras configuration with float64 in place of float32."""
    if isinstance(configuration, dict):
        return {key: _widened(value) for key, value in configuration.items()}
    if isinstance(configuration, list | tuple):
        return type(configuration)(_widened(value) for value in configuration)
    return "float64" if configuration == "float32" else configuration


def _rounding(splits: Mapping[str, Split], executed: Answers, expected: Answers, exact: Forward) -> float:
    """Return the largest float32 error of the model, on the images on which file and model differ most."""
    largest = 0.0
    for name, split in splits.items():
        hardest = np.argsort(-np.abs(executed[name] - expected[name]).max(axis=1))[:HARDEST]
        size = max(1, EXACT_BYTES // math.prod(split.images.shape[1:]))
        batches = [hardest[start : start + size] for start in range(0, len(hardest), size)]
        computed = [exact(np.concatenate([split.images[index : index + 1] for index in batch])) for batch in batches]
        cost = np.abs(expected[name][hardest] - np.concatenate(computed))
        largest = max(largest, float(cost.max(initial=0, where=np.isfinite(cost))))
    return largest


def _parity(
    split: str,
    executed: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    rounding: float | None,
) -> Parity:
    difference = np.abs(executed - expected)
    given, wanted = executed.argmax(axis=1), expected.argmax(axis=1)
    flipped = np.flatnonzero(given != wanted)
    shown = flipped[:FLIPPED_SHOWN].tolist()
    return Parity(
        split=split,
        images=len(labels),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        label_flips=len(flipped),
        flipped=tuple(shown),
        file_accuracy=float((given == labels).mean()),
        model_accuracy=float((wanted == labels).mean()),
        flips=tuple(Flip(i, int(labels[i]), int(wanted[i]), int(given[i])) for i in shown),
        rounding=rounding,
        allowance=None if rounding is None else max(LEAST_ALLOWANCE, ROUNDINGS * rounding),
    )
