"""Run a Core ML file on pictures, and evaluate its predictions."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from architectures.errors import ProjectError
from conversion import runtime
from conversion.pictures import Picture, pictures_of
from conversion.runtime.half import Half, HalfExecutable
from conversion.runtime.reading import form_of
from conversion.verification.threshold import threshold_in
from experiments.cores import cores
from experiments.datasets import progress
from experiments.datasets.pixels import Form
from experiments.datasets.source import background as color_named
from experiments.evaluation.metrics import Evaluation, evaluate
from experiments.views.page import save
from experiments.views.tables import write_csv

BLOCK_BYTES = 2**25  # of pixels in a block: it is predicted while the next is read
MOST_IN_BLOCK = 2_000  # pictures: small ones are predicted while others are read
READ_TOGETHER = 64  # pictures per task of a thread: reading small ones takes less time than handing them over
FEW = 64  # images: threads or progress reports are not worth it


@dataclass(frozen=True)
class PicturePrediction:
    """The file's answer for one picture."""

    picture: Picture
    top: tuple[tuple[str, float], ...]  # labels with their probabilities, the most probable first

    @property
    def label(self) -> str:
        return self.top[0][0]


@dataclass(frozen=True)
class Predictions:
    """The answers of a file, and their evaluation if the labels are known."""

    file: str
    labels: tuple[str, ...]
    form: Form  # of every picture
    answers: tuple[PicturePrediction, ...]
    evaluation: Evaluation | None  # of the pictures with a known label; None: there are none
    judged: tuple[PicturePrediction, ...]  # these pictures, in the order of the evaluation's indices
    unread: tuple[str, ...]  # for each unreadable picture, why
    notes: tuple[str, ...]
    threshold: float | None  # lowest confidence that counts as an answer; None: the file has none
    half: Half | None = None  # the effect of float16, if it was simulated
    run_id: str | None = None  # of the run in the file's metadata

    def truth_of(self, answer: PicturePrediction) -> str | None:
        """Return the name of the true label; None if it is not known."""
        return None if answer.picture.truth is None else self.labels[answer.picture.truth]

    def is_known(self, answer: PicturePrediction) -> bool:
        """Return whether the guess counts as an answer, by the file's own threshold."""
        return answer.top[0][1] >= (self.threshold or 0)

    @cached_property
    def unknown(self) -> tuple[PicturePrediction, ...]:
        """The pictures for which the file answers "I do not know"."""
        return tuple(answer for answer in self.answers if not self.is_known(answer))

    @cached_property
    def mistakes(self) -> tuple[PicturePrediction, ...]:
        """The wrong answers, the most confident first."""
        wrong = [answer for answer in self.judged if answer.label != self.truth_of(answer)]
        return tuple(sorted(wrong, key=lambda answer: -answer.top[0][1]))

    def write_csv(self, path: Path) -> None:
        """Write a line for each picture, completely or not at all; raise OSError if the file cannot be written."""
        most = max((len(answer.top) for answer in self.answers), default=0)
        names = [name for place in range(1, most + 1) for name in (f"label {place}", f"probability {place}")]
        text = io.StringIO()
        rows = ([answer.picture.name, self.truth_of(answer), *_flat(answer.top)] for answer in self.answers)
        write_csv([["picture", "truth", *names], *rows], text)
        save(text.getvalue(), path)

    def as_json(self) -> dict[str, object]:
        """Return everything as a JSON-ready object."""
        found = self.evaluation
        told = {} if found is None else {name: value for name, value in asdict(found).items() if name != "mistakes"}
        return {
            "file": self.file,
            "fit": self.form.fit,
            "background": self.form.background,
            "labels": self.labels,
            "images": len(self.answers),
            "answers": [self._row(answer) for answer in self.answers],
            "evaluation": told or None,
            "mistakes": [self._row(answer) for answer in self.mistakes],
            "threshold": self.threshold,
            "unknown": len(self.unknown),
            "unread": self.unread,
            "notes": self.notes,
            "compute": "float16" if self.half else "float32",
            "float16": self.half and asdict(self.half),
        }

    def _row(self, answer: PicturePrediction) -> dict[str, object]:
        top = [{"label": label, "probability": probability} for label, probability in answer.top]
        return {
            "image": answer.picture.name,
            "truth": self.truth_of(answer),
            "known": self.is_known(answer),
            "top": top,
        }


def predict_pictures(
    path: Path,
    sources: Sequence[str],
    *,
    fit: str | None = None,
    background: str | None = None,
    split: str = "val",
    top: int = 3,
    compute: str = "float32",
    accumulation: str = "float32",
) -> Predictions:
    """Run a file on pictures.

    Args:
        path: a Core ML classifier.
        sources: image files, folders, data sets.
        fit: how pictures are resized; by default as the file's metadata say.
        background: colour of transparent pixels and margins; by default as the metadata say.
        split: of a data set, `train` or `val`.
        top: number of labels for each picture.
        compute: `float32`, or `float16` to simulate a phone's Neural Engine.
        accumulation: precision of sums in float16, one of `half.ACCUMULATIONS`.

    Raises:
        UsageError: for a source that does not exist or does not fit the file.
        CorruptModel: if the file is damaged.
        NotCheckable: if it cannot be executed.
    """
    file = runtime.load(path)
    form = form_of(file.interface, fit=fit, color=None if background is None else color_named(background))
    pictures, notes = pictures_of(sources, file.interface, form, split=split)
    labels = file.interface.shown_labels
    answers: list[PicturePrediction] = []
    found: list[np.ndarray] = []
    unread: list[str] = []
    halved = HalfExecutable(path, accumulation=accumulation) if compute == "float16" else None
    halves: list[Half] = []
    image = file.interface.input
    blocks = _blocks(pictures, (image.height, image.width, image.channels), unread)
    for block, images in blocks:
        if halved:
            probabilities, half = halved.compare(images)
            probabilities = np.nan_to_num(probabilities, nan=0.0, posinf=1.0, neginf=0.0)  # the notes count them
            halves.append(half)
        else:
            probabilities = file.probabilities(images)
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        chosen = np.take_along_axis(probabilities, order, axis=1).tolist()
        for picture, best, values in zip(block, order.tolist(), chosen, strict=True):
            named = tuple(labels[index] for index in best)
            answers.append(PicturePrediction(picture, tuple(zip(named, values, strict=True))))
        found.append(probabilities)
    judged = [row for row, answer in enumerate(answers) if answer.picture.truth is not None]
    evaluation = None
    if judged:
        truth = np.array([answers[row].picture.truth for row in judged], np.int64)
        evaluation = evaluate(np.concatenate(found)[judged], truth, labels)
    return Predictions(
        file=str(path),
        labels=labels,
        form=form,
        answers=tuple(answers),
        evaluation=evaluation,
        judged=tuple(answers[row] for row in judged),
        unread=tuple(sorted(unread)),
        notes=tuple(notes),
        threshold=threshold_in(file.interface.metadata.user_defined),
        half=Half.joined(halves) if halves else None,
        run_id=file.interface.metadata.user_defined.get("run_id"),
    )


def _blocks(
    pictures: Sequence[Picture], shape: tuple[int, int, int], unread: list[str]
) -> Iterator[tuple[list[Picture], np.ndarray]]:
    """Yield pictures with their pixels (n, height, width, channels), in blocks; add unreadable ones to `unread`."""
    some = max(1, min(MOST_IN_BLOCK, BLOCK_BYTES // math.prod(shape)))
    read: list[list[Picture]] = []

    def gathered(block: Sequence[Picture], parts: Iterator[list[np.ndarray | None]]) -> np.ndarray:
        images = [image for part in parts for image in part]
        read.append([picture for picture, image in zip(block, images, strict=True) if image is not None])
        kept = [image for image in images if image is not None]
        return np.array(kept, np.uint8).reshape(len(kept), *shape)

    def blocks() -> Iterator[np.ndarray]:
        before: tuple[Sequence[Picture], Iterator[list[np.ndarray | None]]] | None = None
        with ThreadPoolExecutor(cores()) as pool:
            for first in range(0, len(pictures), some):
                block = pictures[first : first + some]
                each = max(1, min(READ_TOGETHER, len(block) // (4 * cores())))
                parts = [block[place : place + each] for place in range(0, len(block), each)]
                begun = block, pool.map(partial(_read, unread=unread), parts)
                if before:
                    yield gathered(*before)
                before = begun
            if before:
                yield gathered(*before)

    told = progress.told("pictures", len(pictures), blocks()) if len(pictures) > FEW else blocks()
    for images in told:
        block = read.pop()
        if block:
            yield block, images


def _flat(top: Sequence[tuple[str, float]]) -> list[object]:
    return [cell for pair in top for cell in pair]


def _read(pictures: Sequence[Picture], *, unread: list[str]) -> list[np.ndarray | None]:
    """Read the pixels of each picture; None for an unreadable one, and the reason is added to `unread`."""
    found: list[np.ndarray | None] = []
    for picture in pictures:
        try:
            found.append(picture.read())
        except ProjectError as error:
            found.append(None)
            unread.append(str(error))
    return found
