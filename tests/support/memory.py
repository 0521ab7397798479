"""How much memory a test takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """Fail if what runs inside takes more than this beside what the process holds already, whatever ran before."""
    if not CLEAR.exists():
        yield
        pytest.skip("all but the memory is checked: its peak can only be reset on Linux")
    CLEAR.write_text("5")  # the peak is what is held now
    before = _kibibytes("VmHWM")
    yield
    assert _kibibytes("VmHWM") - before < mebibytes * 1024


def _kibibytes(name: str) -> int:
    (found,) = re.findall(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return int(found)
