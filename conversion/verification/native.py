"""Compare our executor with Apple's own runtime, which exists on macOS only."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conversion.coreml.convert import coremltools
from conversion.runtime import Executable
from conversion.runtime.archives import extracted
from experiments.datasets.viewed import viewed

SAMPLE = 64  # images; Apple's runtime takes one at a time
TOLERANCE = 5e-3  # of a probability; Apple's half precision changes correct files by 3e-4


@dataclass(frozen=True)
class Native:
    """The result of running a file in Apple's runtime."""

    status: str  # "agrees", "differs", or "not run: REASON"
    images: int = 0
    max_difference: float | None = None  # of a probability, from our executor's

    @property
    def fault(self) -> str:
        """The fault in words; empty unless the results differ."""
        if self.status != "differs":
            return ""
        return (
            f"Apple's runtime and our executor differ by up to {self.max_difference:.1e} on {self.images} images, "
            f"at most {TOLERANCE:.0e} is allowed"
        )


def compare(path: Path, executable: Executable, images: npt.NDArray[np.uint8]) -> Native:
    """Run a file on a sample of images in Apple's runtime, on the CPU, if there is one.

    Args:
        executable: the same file, loaded by our executor.
        images: uint8 (N, height, width, channels).
    """
    if platform.system() != "Darwin":
        return Native("not run: needs macOS")
    ct = coremltools()
    with extracted(path) as found:
        model = ct.models.MLModel(str(found), compute_units=ct.ComputeUnit.CPU_ONLY)
    interface = executable.interface
    sample = images[:SAMPLE]
    given = [image[None].astype(np.float32) if interface.input.is_array else viewed(image) for image in sample]
    answers = [model.predict({interface.input.name: each})[interface.probabilities_name] for each in given]
    # Apple's runtime returns probabilities by class name: classes with the same name get one.
    single = [index for index, label in enumerate(interface.labels) if interface.labels.count(label) == 1]
    if not single:
        return Native("not run: no class has a name of its own")
    native = np.array([[answer[interface.labels[index]] for index in single] for answer in answers])
    difference = float(np.abs(native - executable.probabilities(sample)[:, single]).max())
    return Native("agrees" if difference <= TOLERANCE else "differs", len(sample), difference)
