"""Cache arrays that are slow to compute and the same for every trial: computed once, kept on disk, memory-mapped.

A file's name is a digest of everything that determines its bits. It is written completely or not at all, is computed by
one process while others wait for it, and can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from architectures.scratch import scratch_beside
from experiments.datasets import cache
from experiments.locks import file_lock

SETTINGS = ("TF_", "ONEDNN_", "DNNL_", "OMP_")  # prefixes of environment variables that may change bits


def cached_array(kind: str, decisive: str, shape: tuple[int, ...], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return a memory-mapped float32 array, computing it if it is not cached.

    Args:
        kind: of its contents; the name of its folder in the cache.
        decisive: everything that determines its bits.
    """
    place = cache.root() / kind / f"{hashlib.sha256(decisive.encode()).hexdigest()[:32]}.npy"
    if (found := _opened(place, shape)) is not None:
        return found
    place.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(place.with_suffix(".lock"), f"cache of {kind}", f"computes {kind}"):
        if _opened(place, shape) is None:
            with scratch_beside(place) as folder:
                np.save(folder / "array.npy", compute())
                (folder / "array.npy").replace(place)
    computed = _opened(place, shape)
    assert computed is not None, f"{place} changed while it was written"
    return computed


def _opened(place: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        found = np.load(place, mmap_mode="r")
    except (OSError, ValueError):  # missing or damaged
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def surroundings() -> list[object]:
    """Return what else determines the bits of a network's outputs on given images: TensorFlow, threads, the machine."""
    import tensorflow as tf

    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith(SETTINGS))
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return [tf.version.VERSION, threads, platform.node(), settings]
