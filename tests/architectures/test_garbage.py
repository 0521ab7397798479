"""What is hidden from the garbage collector comes back, unless it was hidden for good."""

from __future__ import annotations

import gc

import pytest

from architectures import garbage


def test_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_frozen", False)
    try:
        with garbage.frozen_objects():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() == 0
    finally:
        gc.freeze()  # as each test finds it


def test_for_good() -> None:
    garbage.freeze()
    with garbage.frozen_objects():
        pass
    assert gc.get_freeze_count() > 0
