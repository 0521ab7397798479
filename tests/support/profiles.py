"""Colour profiles of displays and cameras, made here: a matrix and a gamma, as ICC's version 2 writes them."""

from __future__ import annotations

import struct

import numpy as np

# Columns: the red, green and blue primaries as XYZ under D50. Rows of Apple's, Adobe's and IEC's published profiles.
DISPLAY_P3 = ((0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))
GAMMA = 2.2


def profile(primaries: tuple[tuple[float, ...], ...], name: bytes) -> bytes:
    """An ICC profile of an RGB device."""
    columns = np.transpose(primaries)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz((0.9642, 1.0, 0.8249)),
        **{key: _xyz(column) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)},
        **{key: b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256)) for key in (b"rTRC", b"gTRC", b"bTRC")},
    }
    table, content = struct.pack(">I", len(tags)), b""
    for key, value in tags.items():
        table += key + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", 132 + 12 * len(tags) + len(content), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ "
    )
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + table + content


def as_srgb(values: np.ndarray, primaries: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """What 8-bit values (..., 3) under such a profile are in sRGB, by the formulas of both."""
    linear = (values / 255) ** (round(GAMMA * 256) / 256)
    linear = np.clip(linear @ np.transpose(primaries) @ np.linalg.inv(np.transpose(SRGB)), 0, 1)
    return np.round(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def _xyz(values: tuple[float, ...] | np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))
