"""A picture of the images that a Core ML file labels otherwise than its model does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conversion.verify import Parity
    from experiments.datasets import Split

COLUMNS = 5
CELL_INCHES = (1.5, 1.8)  # width and height of an image with its title


def draw_flips(parity: Parity, split: Split, class_names: tuple[str, ...], path: Path) -> bool:
    """Draw the images that `parity` names, each with the true label, the model's and the file's, as a PNG.

    Args:
        parity: of a file against a model on a split.
        split: the images and labels that it was measured on.
        class_names: names by label index.
        path: where the picture goes.

    Returns:
        False, and nothing is drawn, if no label differs.
    """
    if not parity.flips:
        return False
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a display

    columns, rows = min(COLUMNS, len(parity.flips)), -(-len(parity.flips) // COLUMNS)
    figure = Figure(figsize=(max(3, columns) * CELL_INCHES[0], 0.6 + rows * CELL_INCHES[1]), layout="constrained")
    shown = "" if parity.label_flips == len(parity.flips) else f", the first {len(parity.flips)}"
    figure.suptitle(
        f"{parity.label_flips} of {parity.images} {parity.split} images get another label{shown}", fontsize=9
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, flip in zip(grid, parity.flips, strict=False):
        image = split.images[flip.index]
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        true, model, file = (class_names[label] for label in (flip.true_label, flip.model_label, flip.file_label))
        axes.set_title(f"#{flip.index}: {true}\nmodel {model}, file {file}", fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True
