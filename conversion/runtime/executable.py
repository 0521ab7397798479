"""A loaded file of either format: checks images, splits them into chunks, and runs these on all processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, cast

import numpy as np

from architectures.errors import UsageError
from conversion.runtime import reading
from conversion.runtime.interface import Array, Blueprint, Images, Interface, Pictures, Prediction
from conversion.runtime.limits import MAX_BLOB_ELEMENTS
from conversion.runtime.network import Network, Node
from conversion.runtime.processors import LARGE_IMAGE_BYTES, MAX_WORKERS, helped, one_blas_thread
from experiments.cores import cores

CHUNK_BYTES = 2**23  # activations per worker at a time: 4 to 16 MiB were equally fast, 64 MiB a third slower
SMALLEST_CHUNK = 8  # images that are worth a separate worker, if they are not large
LEAST_LARGE_CHUNK = 2  # large images at a time: a tenth less time than one by one, the same as four
INPUT = Node("the input", "input", (), (), list)  # what is changed before the first layer


class BatchedExecutable:
    """Predictions of a compiled network for any number of images.

    Args:
        interface: inputs and outputs of the file.
        weights: decoded weights by layer name and field name.
        network: the prepared layers.
        prepared: converts uint8 images (n, height, width, channels) to the network's input.
    """

    def __init__(
        self,
        interface: Interface,
        weights: Mapping[str, Mapping[str, Array]],
        blueprint: Callable[[], Blueprint],
        network: Network,
        prepared: Callable[[Images], Array],
    ) -> None:
        self._interface = interface
        self._weights = weights
        self._blueprint = blueprint
        self._network, self._prepared = network, prepared
        self.bytes_per_image = max(1, network.bytes_per_image)
        self._most_images = max(1, MAX_BLOB_ELEMENTS // max(1, network.largest_blob))

    @property
    def interface(self) -> Interface:
        """Inputs and outputs of the file."""
        return self._interface

    @property
    def weights(self) -> Mapping[str, Mapping[str, Array]]:
        """Decoded float32 weights by layer name and field name, in the shape that the format documents."""
        return self._weights

    @cached_property
    def blueprint(self) -> Blueprint:
        """The file's operations, and all floating-point numbers that they compute with."""
        return self._blueprint()

    def predict(self, images: Pictures, *, batch_size: int | None = None) -> Prediction:
        """Predict probabilities and the most probable labels.

        Args:
            images: uint8 (N, height, width, channels); three channels are red, green, blue, whatever order the
                network needs. Also one such image, the path of an image file, or a list of paths or images.
            batch_size: images computed at a time; by default as many as fit into the processor's cache.

        Raises:
            UsageError: if the images are not what the file takes.
            ProjectError: if a file is not an image, or damaged.
        """
        images = self._as_array(images)
        probabilities = self.probabilities(images, batch_size=batch_size)
        indices = probabilities.argmax(axis=1).tolist()
        best: list[Any] = [self._interface.labels[i] for i in indices]
        return Prediction(probabilities, best, indices)

    def probabilities(self, images: Images, *, batch_size: int | None = None) -> Array:
        """Return probabilities (N, number of labels), float32; arguments and errors as for `predict`."""
        self._check(images)
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}.")
        count, processors = len(images), min(MAX_WORKERS, cores())
        size = batch_size or self._chunk(count, processors)
        size = min(size, self._most_images)
        chunks = [slice(first, first + size) for first in range(0, count, size)]
        answer = np.empty((count, len(self._interface.labels)), np.float32)

        def work(chunk: slice) -> None:
            with np.errstate(all="ignore"):  # weights may be anything, so infinities are valid results
                answer[chunk] = self._network.run(self._prepared(images[chunk]))[0].reshape(-1, answer.shape[1])

        large = self.bytes_per_image >= LARGE_IMAGE_BYTES
        if processors == 1 or (len(chunks) <= 1 and not large):
            for chunk in chunks:
                work(chunk)
            return answer
        with one_blas_thread() as alone:
            if len(chunks) < processors and large:
                with helped(processors if alone else 1):
                    for chunk in chunks:
                        work(chunk)
                return answer
            with ThreadPoolExecutor(min(len(chunks), processors) if alone else 1) as pool:
                list(pool.map(work, chunks))
        return answer

    @property
    def operations(self) -> int:
        """Number of layers that are computed."""
        return len(self._network.computed)

    def title(self, place: int) -> str:
        """Return the name of a layer in errors."""
        return self._network.computed[place].title

    def one_by_one(self, images: Images, change: Callable[[int, Node, Array], Array]) -> Array:
        """Return probabilities (n, number of labels), changing each layer's output as in `Network.one_by_one`."""
        self._check(images)
        (answer,) = self._network.one_by_one(change(-1, INPUT, self._prepared(images)), change=change)
        return answer.reshape(len(images), -1)

    def _chunk(self, count: int, processors: int) -> int:
        """Return how many images to compute at a time."""
        large = self.bytes_per_image >= LARGE_IMAGE_BYTES
        least = LEAST_LARGE_CHUNK if large else SMALLEST_CHUNK
        return max(least, min(CHUNK_BYTES // self.bytes_per_image, -(-count // processors)))

    def _as_array(self, images: Pictures) -> Images:
        """Read files, and make single images a batch of one. Anything else is left for `_check` to reject."""
        if isinstance(images, str | os.PathLike):
            images = [images]
        if isinstance(images, list | tuple) and images:
            if all(isinstance(image, str | os.PathLike) for image in images):
                return reading.read([os.fspath(image) for image in images], self._interface)
            arrays = [image for image in images if isinstance(image, np.ndarray)]
            if len(arrays) == len(images) and len({(image.shape, image.dtype) for image in arrays}) == 1:
                images = np.stack(arrays)
        wanted = self._interface.input
        if isinstance(images, np.ndarray):
            if wanted.channels == 1 and images.ndim < 4 and images.shape[-2:] == (wanted.height, wanted.width):
                images = images[..., None]
            return images[None] if images.ndim == 3 else images
        return cast(Images, images)

    def _check(self, images: Images) -> None:
        wanted = self._interface.input
        expected = (wanted.height, wanted.width, wanted.channels)
        if not isinstance(images, np.ndarray):
            raise UsageError(f"Images must be a NumPy array of uint8, not {type(images).__name__}.")
        if images.dtype != np.uint8:
            raise UsageError(f"Images must be uint8 with values 0 to 255, not {images.dtype}.")
        if images.ndim != 4 or images.shape[1:] != expected:
            raise UsageError(f"Images must have the shape (N, {', '.join(map(str, expected))}), not {images.shape}.")
