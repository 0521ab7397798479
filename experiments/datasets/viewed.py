"""Convert an image with any number of channels to a picture for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def viewed(image: np.ndarray) -> Image.Image:
    """Convert an image (height, width, channels) of uint8 to gray or RGB: the first of 2 channels, or the first three.

    >>> import numpy as np
    >>> [viewed(np.zeros((3, 5, channels), np.uint8)).mode for channels in (1, 2, 3, 12)]
    ['L', 'L', 'RGB', 'RGB']
    """
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1] < 3 else image[..., :3]))
