"""Folders that are read-only, for root too, whom permissions do not stop.

A warm program runs a command in such a folder: python -m tests.support.read_only MODULE WORD ...
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import entry_point
from tests.support.components import require

CLONE_NEWNS = 0x20000  # of sched.h: a process gets mounts of its own
PRIVATE = 'mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
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


def main(arguments: list[str]) -> int:
    """Run a command whose working folder is read-only, within the block of `read_only`."""
    folder = str(Path.cwd())
    if os.geteuid() == 0:
        assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
        subprocess.run(["sh", "-c", PRIVATE, folder], check=True)
        os.chdir(folder)  # through the new mount
    module, *words = arguments
    return entry_point(module)(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
