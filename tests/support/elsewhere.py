"""A sweep whose training does nothing, on a host of another name: others see its signs of life alone.

Run: python -m tests.support.elsewhere '{"study": ..., ...}' EPOCH_SECONDS
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket

from tests.support import untrained

NAME = "elsewhere"
CLONE_NEWUTS = 0x04000000  # of unshare(2): a name of this process' own


def main(arguments: list[str]) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(CLONE_NEWUTS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    socket.sethostname(NAME)
    setattr(platform, "_uname_cache", None)  # noqa: B010  # asked before the fork
    assert platform.node() == NAME
    untrained.main(arguments)
