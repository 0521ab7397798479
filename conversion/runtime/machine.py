"""Resources of the machine, or of the container around this process."""

from __future__ import annotations

import os
from pathlib import Path

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # cgroup v2 and v1
UNKNOWN_MEMORY_BYTES = 2**32  # if the system does not tell


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or a container's limit."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        found = [UNKNOWN_MEMORY_BYTES]
    for limit in CONTAINER_LIMITS:
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return min(found)
