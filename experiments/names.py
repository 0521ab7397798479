"""Names that become files: readable, distinct, and short enough where lengths are counted in bytes."""

from __future__ import annotations

import hashlib
import os
import re

MAX_FILE_NAME = 255  # bytes, on all usual file systems
PREFIX = 60  # bytes of a name that stay readable


def folder_name(name: str) -> str:
    """A unique folder name for any name, whatever characters it has and however long it is.

    >>> folder_name("night")
    'night@176473d73133'
    >>> folder_name("..")
    '@5ec1f7e700f3'
    """
    readable = shortened(re.sub(r"[^\w.-]+", "-", name), PREFIX).strip("-.")
    return f"{readable}@{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def shortened(text: str, size: int) -> str:
    """The beginning of a text, at most so many bytes.

    >>> shortened("数字", 4)
    '数'
    """
    return text.encode()[:size].decode(errors="ignore")


def fits(name: str) -> bool:
    """Whether a name can be used for a file unchanged.

    >>> fits("photos"), fits(".."), fits("数" * 100)
    (True, False, False)
    """
    return bool(name.strip(".")) and "/" not in name and len(os.fsencode(name)) <= MAX_FILE_NAME
