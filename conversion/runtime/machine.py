"""What the machine, or the container around this process, has to offer."""

from __future__ import annotations

import os
from pathlib import Path

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of either generation
UNKNOWN_MEMORY_BYTES = 2**32  # where the system does not say


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less where a container is limited."""
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
