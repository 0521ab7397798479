"""Folders that are read-only, for root too, whom permissions do not stop."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.components import require

MOUNTED = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'


@contextmanager
def read_only(folder: Path) -> Iterator[list[str]]:
    """The words to put before a command that shall find a folder, its working folder, read-only.

    Root gets a read-only mount of its own; from others permissions are taken while the block runs.
    """
    if os.geteuid() == 0:
        words = ["unshare", "--mount", "sh", "-c", MOUNTED, str(folder)]
        probe = subprocess.run([*words, "true"], capture_output=True, check=False)
        require(probe.returncode == 0, install="nothing: run as another user than root, or with CAP_SYS_ADMIN")
        yield words
        return
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield []
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
