"""Resolve the precision `auto`: bfloat16 if the processor, or the GPU that TensorFlow sees, multiplies it natively."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROCESSOR_FLAGS = ("amx_bf16", "avx512_bf16")  # of /proc/cpuinfo
FIRST_CAPABILITY = (8, 0)  # of NVIDIA's GPUs with bfloat16: Ampere


@dataclass(frozen=True)
class Gpu:
    """The first GPU that TensorFlow sees, which it uses."""

    name: str
    compute_capability: tuple[int, int] | None  # None: not one of NVIDIA's


def visible_gpu() -> Gpu | None:
    """Return the first GPU that TensorFlow sees, if there is one."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    details = tf.config.experimental.get_device_details(gpus[0])
    return Gpu(details.get("device_name", gpus[0].name), details.get("compute_capability"))


def native_bfloat16(gpu: Gpu | None = None) -> str:
    """Return the hardware that multiplies bfloat16 natively, in words for a run's record, or `none`."""
    if gpu is not None:
        able = gpu.compute_capability is not None and gpu.compute_capability >= FIRST_CAPABILITY
        return "gpu" if able else "none"
    try:
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    except OSError:  # not Linux
        return "none"
    return " ".join(flag for flag in PROCESSOR_FLAGS if flag in flags) or "none"


def resolve_precision(precision: str, gpu: Gpu | None = None) -> str:
    """Return the policy that `auto` stands for; weights, validation and the kept model are always float32.

    With `mixed_bfloat16`, the last layer and depthwise convolutions compute in float32, too: see
    `classifier.build_classifier`.
    """
    if precision != "auto":
        return precision
    return "float32" if native_bfloat16(gpu) == "none" else "mixed_bfloat16"
