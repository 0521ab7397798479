"""Non-maximum suppression, the last stage of a detector."""

from __future__ import annotations

import numpy as np


def suppressed(
    confidence: np.ndarray, boxes: np.ndarray, *, iou: float, least: float, per_class: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Remove boxes that overlap a more confident one, greedily.

    Args:
        confidence: float64 (boxes, classes).
        boxes: float64 (boxes, 4): centre x, centre y, width, height.
        iou: intersection over union above which the less confident box is removed.
        least: minimum confidence of a box in its most confident class.
        per_class: whether boxes with different most confident classes are independent.

    Returns:
        Confidence and boxes that remain, the most confident first.
    """
    best, kind = confidence.max(axis=1), confidence.argmax(axis=1)
    waiting = [int(i) for i in np.argsort(-best, kind="stable") if best[i] >= least]
    kept: list[int] = []
    while waiting:
        first, *rest = waiting
        kept.append(first)
        overlap = _overlaps(boxes[first], boxes[rest]) if rest else np.zeros(0)
        waiting = [
            i for i, share in zip(rest, overlap, strict=True) if share <= iou or (per_class and kind[i] != kind[first])
        ]
    return confidence[kept], boxes[kept]


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box with each of the others."""
    low, high = np.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2), box[:2] + box[2:] / 2
    high = np.minimum(high, others[:, :2] + others[:, 2:] / 2)
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
