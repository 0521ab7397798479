"""Draw the images that a Core ML file and its model label differently."""

from __future__ import annotations

from pathlib import Path

from conversion.verification.parity import Parity
from experiments.datasets import Split
from experiments.evaluation.pictures import draw_images, short_names


def draw_flips(parity: Parity, split: Split, class_names: tuple[str, ...], path: Path) -> bool:
    """Draw the images that `parity` names as a PNG, each with the true label, the model's and the file's.

    Args:
        parity: of a file and a model on a split.
        split: the images and labels that were compared.
        class_names: names by label index.
        path: of the PNG.

    Returns:
        False if no label differs; then nothing is drawn.
    """
    if not parity.flips:
        return False
    shown = "" if parity.label_flips == len(parity.flips) else f", the first {len(parity.flips)}"
    names = short_names(class_names)
    captions = []
    for flip in parity.flips:
        true, model, file = (names[i] for i in (flip.true_label, flip.model_label, flip.file_label))
        captions.append(f"#{flip.index}: {true}\nmodel {model}, file {file}")
    draw_images(
        [split.images[flip.index] for flip in parity.flips],
        captions,
        path,
        title=f"{parity.label_flips} of {parity.images} {parity.split} images get another label{shown}",
    )
    return True
