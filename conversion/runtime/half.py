"""Simulate in NumPy how float16, the arithmetic of a phone's Neural Engine, changes a file's predictions.

Weights are float16, and so is the output of every operation. Sums inside an operation are float32, or float16 if
requested. This is not Apple's runtime, which fuses operations, sums in its own order, and may use float32 on other
processors: it shows where a network is at risk, and in which layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conversion.runtime import precision
from conversion.runtime.executable import BatchedExecutable
from conversion.runtime.interface import Array, Images
from conversion.runtime.loading import load
from conversion.runtime.network import Node

CHUNK_BYTES = 2**24  # activations at a time
MOST_BLAMED = 20  # images whose changed label is traced to a layer, each in about log2(layers) executions
ACCUMULATIONS = ("float32", "float16")
WEIGHT_ROUNDING, TIE = ("rounding of the weights", -2), ("rounding at a tie", -3)


@dataclass(frozen=True)
class Blame:
    """A layer, and the number of images that it affected."""

    layer: str
    images: int
    place: int  # of the layer among the computed ones; -1 for the input, -2 for the weights


@dataclass(frozen=True)
class Half:
    """Predictions in float16, compared with float32."""

    images: int
    accumulation: str  # precision of sums inside an operation, one of ACCUMULATIONS
    label_flips: int  # images with another label than in float32
    flipped: tuple[int, ...]  # their indices
    max_difference: float  # of a probability; NaN counts as 1
    not_numbers: int  # images with a probability of NaN
    overflow: Blame | None  # the first layer that turns finite numbers into infinities
    underflow: Blame | None  # the first layer whose whole output becomes 0 for an image, although it was not
    label_moved_by: tuple[Blame, ...]  # layers up to which rounding changes a label, for at most MOST_BLAMED images

    @property
    def text(self) -> str:
        """One line for people."""
        found = [f"{self.label_flips:,} of {self.images:,} labels differ", f"probability by {self.max_difference:.1e}"]
        return f"float16, simulated, sums in {self.accumulation}: " + "; ".join([*found, *self.blamed])

    @property
    def blamed(self) -> tuple[str, ...]:
        """What goes wrong in which layer, in words."""
        found = []
        if self.overflow:
            found.append(f"{self.overflow.layer} overflows ({self.overflow.images:,} images)")
        if self.underflow:
            found.append(f"all that {self.underflow.layer} computes becomes 0 ({self.underflow.images:,} images)")
        if self.not_numbers:
            found.append(f"{self.not_numbers:,} answers are not numbers")
        return (*found, *(f"{each.layer} moves labels ({each.images:,})" for each in self.label_moved_by[:3]))

    @classmethod
    def joined(cls, parts: Sequence[Half]) -> Half:
        """Combine the results of consecutive batches."""
        flipped, before = [], 0
        for part in parts:
            flipped += [before + index for index in part.flipped]
            before += part.images
        moved = [blame for part in parts for blame in part.label_moved_by]
        return cls(
            images=before,
            accumulation=parts[0].accumulation,
            label_flips=len(flipped),
            flipped=tuple(flipped),
            max_difference=max(part.max_difference for part in parts),
            not_numbers=sum(part.not_numbers for part in parts),
            overflow=_first([part.overflow for part in parts if part.overflow]),
            underflow=_first([part.underflow for part in parts if part.underflow]),
            label_moved_by=_most_first([_sum(moved, place) for place in dict.fromkeys(each.place for each in moved)]),
        )


def _sum(blames: Sequence[Blame], place: int) -> Blame:
    same = [each for each in blames if each.place == place]
    return Blame(same[0].layer, sum(each.images for each in same), place)


def _first(blames: Sequence[Blame]) -> Blame | None:
    return _sum(blames, min(each.place for each in blames)) if blames else None


def _most_first(blames: Sequence[Blame]) -> tuple[Blame, ...]:
    return tuple(sorted(blames, key=lambda each: (-each.images, each.place)))


class HalfExecutable:
    """A loaded file in float32 and float16.

    Args:
        accumulation: one of ACCUMULATIONS.
        exact: the file, if it is already loaded.

    Raises:
        CorruptModel: if it is damaged.
        NotCheckable: if it cannot be executed.
    """

    def __init__(self, path: Path, *, accumulation: str = "float32", exact: BatchedExecutable | None = None) -> None:
        if accumulation not in ACCUMULATIONS:
            raise ValueError(f"accumulation is {accumulation!r}, not one of {', '.join(ACCUMULATIONS)}")
        self.accumulation = accumulation
        self.exact: BatchedExecutable = exact or load(path)
        with precision.halved():
            self._halved: BatchedExecutable = load(path)

    def compare(self, images: Images, exact: Array | None = None) -> tuple[Array, Half]:
        """Return probabilities in float16 (N, number of labels), and what differs.

        Args:
            images: as for `Executable.probabilities`.
            exact: the probabilities in float32, if they are known.
        """
        exact = self.exact.probabilities(images) if exact is None else exact
        events = _Events()
        answer = np.empty_like(exact)
        size = max(1, CHUNK_BYTES // self._halved.bytes_per_image)
        for first in range(0, len(images), size):
            answer[first : first + size] = self._computed(images[first : first + size], events.rounded)
        labels, before = answer.argmax(axis=1), exact.argmax(axis=1)
        flipped = np.flatnonzero(labels != before)
        differences = np.nan_to_num(np.abs(answer.astype(np.float64) - exact), nan=1.0, posinf=1.0)
        blamed = [self._mover(images[index : index + 1], before[index]) for index in flipped[:MOST_BLAMED].tolist()]
        moved = {layer: blamed.count(layer) for layer in dict.fromkeys(blamed)}
        return answer, Half(
            images=len(images),
            accumulation=self.accumulation,
            label_flips=len(flipped),
            flipped=tuple(flipped.tolist()),
            max_difference=float(differences.max(initial=0)),
            not_numbers=int(np.isnan(answer).any(axis=1).sum()),
            overflow=events.blamed(events.infinite),
            underflow=events.blamed(events.vanished),
            label_moved_by=_most_first([Blame(layer, count, place) for (layer, place), count in moved.items()]),
        )

    def _computed(self, images: Images, change: Callable[[int, Node, Array], Array]) -> Array:
        with np.errstate(all="ignore"), precision.halved(sums=self.accumulation == "float16"):
            return self._halved.one_by_one(images, change)

    def _mover(self, image: Images, label: int) -> tuple[str, int]:
        """Find the layer whose rounding to float16 changes a label, by bisection.

        The layers after it are computed in float32 with float16 weights. If these, or the image, change the label
        alone, they are blamed.
        """

        def moved(layers: int) -> bool:
            answer = self._computed(
                image, lambda place, _, blob: precision.round_to_half(blob) if place < layers else blob
            )
            return int(answer.argmax()) != label

        if moved(0):
            return WEIGHT_ROUNDING
        low, high = 0, self._halved.operations
        if not moved(high):  # in another chunk, products round differently
            return TIE
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if moved(middle) else (middle, high)
        return self._halved.title(high - 1), high - 1


class _Events:
    """What happens in which layer, while outputs are rounded."""

    def __init__(self) -> None:
        self.infinite: dict[tuple[int, str], int] = {}  # number of images by place and layer
        self.vanished: dict[tuple[int, str], int] = {}

    def rounded(self, place: int, node: Node, blob: Array) -> Array:
        result = precision.round_to_half(blob)
        axes = tuple(range(1, blob.ndim))
        finite = np.isfinite(blob)
        overflow = (np.isinf(result) & finite).any(axis=axes)
        if not self.infinite:  # float16 sums are infinite before they are rounded
            overflow |= np.isinf(blob).any(axis=axes)
        vanished = (blob != 0).any(axis=axes) & ~(result != 0).any(axis=axes)
        for found, where in ((overflow, self.infinite), (vanished, self.vanished)):
            if found.any():
                where[place, node.title] = where.get((place, node.title), 0) + int(found.sum())
        return result

    @staticmethod
    def blamed(where: dict[tuple[int, str], int]) -> Blame | None:
        """Return the first layer in the order of the network."""
        if not where:
            return None
        place = min(where)
        return Blame(place[1], where[place], place[0])


def compare(
    path: Path, images: Images, *, accumulation: str = "float32", exact: Array | None = None
) -> tuple[Array, Half]:
    """Return probabilities of a file in float16, and what differs from float32; see `HalfExecutable`."""
    return HalfExecutable(path, accumulation=accumulation).compare(images, exact)
