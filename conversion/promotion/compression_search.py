"""Find the smallest file that is accurate enough: run all formats and compressions on the validation images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from conversion import runtime
from conversion.coreml.convert import Converter
from conversion.coreml.file import CoreMLFile
from conversion.coreml.formats import COMPRESSIONS, FORMATS, IOS_OF_SPECIFICATION, MINIMUM_IOS, Compression, Format
from conversion.coreml.writing import write
from conversion.promotion.config import MAX_ACCURACY_LOSS
from conversion.runtime import NotCheckable
from conversion.verification.threshold import Measured, measure
from experiments.datasets import Split
from experiments.views.charts import GREY, PALETTE

DEEPEST_SHOWN = 5.0  # points below the uncompressed file's accuracy; worse files are drawn at the edge


@dataclass(frozen=True)
class Variant:
    """A format and compression of a model, with the results of running its file."""

    format: Format
    compression: Compression
    size_bytes: int | None = None  # None: coremltools cannot convert the model to this format
    val_accuracy: float | None = None  # of the executed file, 0..1; None, like the next: not checked
    threshold: float | None = None  # lowest confidence that counts as an answer
    flips: int | None = None  # validation images whose top-1 label differs from that of the format's uncompressed file
    minimum_ios: int | None = None
    not_checkable: str | None = None  # why it was not run or compared, and cannot be chosen
    chosen: bool = False


@dataclass(frozen=True)
class CompressionChoice:
    """The chosen file, and all files that were considered."""

    file: CoreMLFile
    variants: tuple[Variant, ...]
    images: int  # of the validation split
    max_accuracy_loss: float  # points below the uncompressed file's accuracy

    @property
    def chosen(self) -> Variant:
        return next(variant for variant in self.variants if variant.chosen)

    @property
    def measured(self) -> Measured:
        """The measurements of the chosen file."""
        chosen = self.chosen
        assert chosen.val_accuracy is not None
        assert chosen.threshold is not None
        return Measured(chosen.val_accuracy, chosen.threshold)

    def as_json(self) -> dict[str, object]:
        """Return a JSON-ready object; sizes in bytes, accuracies as shares of 1, the allowed loss in points."""
        return {
            "images": self.images,
            "max_accuracy_loss_points": self.max_accuracy_loss,
            "variants": [asdict(variant) for variant in self.variants],
        }


def choose_compression(
    converter: Converter,
    split: Split,
    *,
    formats: Sequence[Format] = FORMATS,
    max_accuracy_loss: float = MAX_ACCURACY_LOSS,
) -> CompressionChoice:
    """Choose the smallest file whose accuracy is within `max_accuracy_loss` points of its format's uncompressed file.

    Each file is written, loaded and run as it would ship. Files that cannot be converted or run here are listed, but
    never chosen. Of files of equal size, the more accurate is chosen.

    Raises:
        NotCheckable: if no file of any format can be run here.
    """
    with scratch_folder() as folder:
        measured = [pair for format in formats for pair in _measured(converter, format, split, folder)]
    variants = [variant for variant, _ in measured]
    uncompressed = {variant.format: variant.val_accuracy for variant in variants if variant.compression == "none"}
    eligible: list[tuple[Variant, CoreMLFile]] = []
    for variant, file in measured:
        before, after = uncompressed[variant.format], variant.val_accuracy
        # 1e-9: 0.2 points of 500 images must be one image in floating point too
        if file and before is not None and after is not None and before - after <= max_accuracy_loss / 100 + 1e-9:
            eligible.append((variant, file))
    if not eligible:
        reasons = "; ".join(f"{v.format}: {v.not_checkable}" for v in variants if v.compression == "none")
        raise NotCheckable(f"No file of this model can be executed here: {reasons}")
    chosen, file = min(eligible, key=lambda pair: (pair[1].size_bytes, -(pair[0].val_accuracy or 0)))
    return CompressionChoice(
        file=file,
        variants=tuple(replace(variant, chosen=variant is chosen) for variant in variants),
        images=len(split),
        max_accuracy_loss=max_accuracy_loss,
    )


def _measured(
    converter: Converter, format: Format, split: Split, folder: Path
) -> Iterator[tuple[Variant, CoreMLFile | None]]:
    """Return all variants of a format, the uncompressed one first, each with its file."""
    reference: npt.NDArray[np.int64] | None = None
    for compression in COMPRESSIONS:
        if (format, compression) not in MINIMUM_IOS:
            continue
        variant, file = Variant(format, compression), None
        if compression != "none" and reference is None:
            yield replace(variant, not_checkable="the uncompressed file is not"), None
            continue
        try:
            file = converter.file(format=format, compression=compression)
            variant = replace(variant, size_bytes=file.size_bytes)
            probabilities, ios = _execute(file, folder, split)
        except ProjectError as error:
            yield replace(variant, not_checkable=str(error).replace(f"{folder}/", "")), file
            continue
        answers = probabilities.argmax(axis=1)
        reference = answers if reference is None else reference
        measured = measure(probabilities, split.labels)
        yield (
            replace(
                variant,
                val_accuracy=measured.val_accuracy,
                threshold=measured.threshold,
                flips=int((answers != reference).sum()),
                minimum_ios=ios,
            ),
            file,
        )


def measured_on(file: CoreMLFile, split: Split) -> Measured:
    """Measure accuracy and threshold of a file on a split; raise NotCheckable if it cannot be run here."""
    with scratch_folder() as folder:
        probabilities, _ = _execute(file, folder, split)
    return measure(probabilities, split.labels)


def _execute(file: CoreMLFile, folder: Path, split: Split) -> tuple[npt.NDArray[np.float32], int]:
    """Return the probabilities (N, classes) of a written file, and the oldest iOS that reads it."""
    path = folder / f"model{file.suffix}"
    write(file, path)
    executable = runtime.load(path)
    version = executable.interface.specification_version
    return executable.probabilities(split.images), IOS_OF_SPECIFICATION[version]


def draw_choice(choice: CompressionChoice) -> bytes:
    """Draw file size, on a logarithmic axis, against validation accuracy, as a PNG."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a display
    from matplotlib.ticker import LogLocator

    checked = [variant for variant in choice.variants if variant.val_accuracy is not None]
    reference = max(variant.val_accuracy or 0 for variant in checked if variant.compression == "none") * 100
    floor = max(reference - DEEPEST_SHOWN, 0)
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for format, color, above in (("mlmodel", PALETTE[0], True), ("mlpackage", PALETTE[1], False)):
        ours = [variant for variant in checked if variant.format == format]
        for variant in ours:
            accuracy = (variant.val_accuracy or 0) * 100
            worse = accuracy < floor
            text = f"{variant.compression} ({accuracy:.1f} %)" if worse else variant.compression
            place = (variant.size_bytes or 0, max(accuracy, floor))
            axes.plot(*place, "v" if worse else "o", color=color, markersize=7)
            if variant.chosen:
                axes.plot(*place, "o", color="none", markeredgecolor="black", markersize=14)
            axes.annotate(
                text,
                place,
                xytext=(0, 9 if above else -9),
                textcoords="offset points",
                rotation=35 if above else -35,
                ha="left",
                va="bottom" if above else "top",
                rotation_mode="anchor",
                fontsize=8,
            )
        if ours:
            axes.plot([], [], "o", color=color, label=format)
    limit = reference - choice.max_accuracy_loss
    axes.axhline(limit, color=GREY, linestyle="--", linewidth=1, label=f"{limit:.1f} %, the least accepted")
    axes.plot([], [], "o", color="none", markeredgecolor="black", markersize=10, label="chosen")
    if taken := next((variant for variant in checked if variant.chosen), None):
        told = f"{taken.format} {taken.compression} is taken: {taken.size_bytes:,} bytes"
        figure.suptitle(f"{told} at {(taken.val_accuracy or 0) * 100:.1f} %", fontsize=12, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#8884", linewidth=0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.15, y=0.25)
    axes.set_xlabel("bytes of the file")
    axes.set_ylabel(f"accuracy of the executed file on {choice.images:,} validation images, %")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)  # above it would print over the title
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def write_choice(choice: CompressionChoice, folder: Path) -> None:
    """Write the table as `compression.json` and the figure as `compression.png`."""
    (folder / "compression.json").write_text(json.dumps(choice.as_json(), indent=2), encoding="utf-8")
    (folder / "compression.png").write_bytes(draw_choice(choice))
