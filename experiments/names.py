"""File names from arbitrary names: readable, unique, and short enough in bytes."""

from __future__ import annotations

import hashlib
import os
import re

MAX_FILE_NAME = 255  # bytes, on all usual file systems
READABLE_BYTES = 60  # bytes of a name that are kept readable


def folder_name(name: str) -> str:
    """Return a unique folder name for a name with any characters and of any length.

    >>> folder_name("night")
    'night@176473d73133'
    >>> folder_name("..")
    '@5ec1f7e700f3'
    """
    readable = shortened(re.sub(r"[^\w.-]+", "-", name), READABLE_BYTES).strip("-.")
    return f"{readable}@{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def shortened(text: str, size: int) -> str:
    """Return the beginning of a text, at most `size` bytes long.

    >>> shortened("数字", 4)
    '数'
    """
    return text.encode()[:size].decode(errors="ignore")


def is_file_name(name: str) -> bool:
    """Return whether a name can be used for a file unchanged.

    >>> is_file_name("photos"), is_file_name(".."), is_file_name("数" * 100)
    (True, False, False)
    """
    return bool(name.strip(".")) and "/" not in name and len(os.fsencode(name)) <= MAX_FILE_NAME
