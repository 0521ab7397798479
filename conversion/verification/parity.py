"""Compare the answers of a file and a model, and measure how far rounding alone may move them apart."""

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

Answers = Mapping[str, npt.NDArray[np.float32]]  # probabilities of a split's images, by the split's name
Forward = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]

# A file and its model compute the same sums in another order. Both are off the exact answer, by amounts that the
# network decides: 1e-7 where it is shallow, 7e-5 in MobileNetV2. The model's own is measured. Honest files of deep
# networks were up to 1.5 times that away from the model (benchmarks/rounding.py); an image scale of 1/256 on 28x28
# pixels puts a file more than 200 times that away (tests/conversion/test_verify.py).
ROUNDINGS = 10
LEAST_ALLOWANCE = 2.0**-20  # of a probability: eight steps of float32 at 1, for networks that hardly round at all
HARDEST = 32  # images of each split that are computed exactly: those on which file and model differ most
EXACT_BYTES = 2**16  # of the images that are computed at once: one of 224x224 fills memory enough in float64
FLIPPED_SHOWN = 20  # images whose top-1 label differs, named in the evidence

FILE = "file"  # the one that is verified
UNCOMPRESSED = "uncompressed conversion"  # of its model


@dataclass(frozen=True)
class Flip:
    """One image that file and model label differently."""

    index: int  # in the split
    true_label: int
    model_label: int
    file_label: int


@dataclass(frozen=True)
class Parity:
    """A file against a model on one split."""

    split: str
    images: int
    max_difference: float  # of a probability
    mean_difference: float  # of a probability
    label_flips: int  # images whose top-1 label differs
    flipped: tuple[int, ...]  # their first indices in the split
    file_accuracy: float  # of the executed file
    model_accuracy: float  # of the Keras model
    flips: tuple[Flip, ...] = ()  # the images of `flipped`
    executed: str = FILE  # or UNCOMPRESSED, or an arithmetic's name
    rounding: float | None = None  # of a probability: what float32 costs the model itself; None: not asked
    allowance: float | None = None  # of a probability: the largest difference that rounding explains; None: any

    @property
    def faults(self) -> tuple[str, ...]:
        """In words; empty where the difference is allowed. A label may then differ only where two classes tie."""
        if self.allowance is None or self.max_difference <= self.allowance:  # not so where it is NaN
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
    """What a file answered against what a model answers, on each split.

    Args:
        splits: images and labels by name.
        forward: the model in float32.
        exact: the model in float64, from which the allowance is derived; None allows any difference.
    """
    expected = {name: predict(forward, split.images) for name, split in splits.items()}
    rounding = None if exact is None else _rounding(splits, executed, expected, exact)
    return tuple(
        _parity(name, executed[name], expected[name], split.labels, rounding) for name, split in splits.items()
    )


def arithmetics(split: Split, computed: Answers, forward: Forward) -> tuple[Parity, ...]:
    """What a file answers in several arithmetics, by their names, against what a model answers in float32.

    Args:
        split: validation images and labels.
        computed: probabilities by the arithmetic's name; one that is no number counts as 0.
    """
    expected = predict(forward, split.images)
    found = []
    for name, answers in computed.items():
        numbers = np.nan_to_num(answers, nan=0.0, posinf=1.0, neginf=0.0)
        found.append(replace(_parity("val", numbers, expected, split.labels, None), executed=name))
    return tuple(found)


def in_float64(classifier: keras.Model) -> Forward:
    """A classifier computed in float64: from uint8 images (N, height, width, channels) to float64 probabilities.

    It is built a second time from its own configuration, and takes over its current weights at each call.

    Raises:
        NotCheckable: also at a call, for a network that insists on float32.
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
    """Say of any error what it means here."""
    try:
        yield
    except Exception as error:  # of whatever layers call
        reason = " ".join(str(error).split())[:300]
        raise NotCheckable(f"how far the network rounds is not known: in float64 it fails: {reason}") from error


def _widened(configuration: Any) -> Any:
    """A configuration of Keras with float64 wherever it says float32."""
    if isinstance(configuration, dict):
        return {key: _widened(value) for key, value in configuration.items()}
    if isinstance(configuration, list | tuple):
        return type(configuration)(_widened(value) for value in configuration)
    return "float64" if configuration == "float32" else configuration


def _rounding(splits: Mapping[str, Split], executed: Answers, expected: Answers, exact: Forward) -> float:
    """The most that float32 costs the model, on the images on which file and model differ most."""
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
