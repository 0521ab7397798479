"""Components that not every machine has."""

from __future__ import annotations

import os

import pytest


def require(found: object, *, install: str) -> None:
    """Skip a test whose component is missing, and name the line that installs it; CI makes the skip a failure."""
    if not found:
        missing = f"missing component; it is installed by: {install}"
        if os.environ.get("REQUIRE_COMPONENTS"):
            pytest.fail(missing)
        pytest.skip(missing)
