"""A sweep whose process ends at a chosen call, as by kill -9.

Run: python -m tests.support.killed_at MODULE:FUNCTION CALL before|after ...

What follows are the options of search.sweep.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys

KILLED = 9  # the exit code


def arm(place: str, call: int, when: str) -> None:
    """End this process at a call of `module:function` or `module:Class.method`, counted from 1, before or after it."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    holder = functools.reduce(getattr, owners, importlib.import_module(module))
    real = getattr(holder, name)
    calls = 0

    def killed(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls < call:
            return real(*arguments, **options)
        if when == "after":
            real(*arguments, **options)
        os._exit(KILLED)

    setattr(holder, name, killed)


def main(arguments: list[str]) -> int:
    place, call, when, *options = arguments
    arm(place, int(call), when)
    from search import sweep

    return sweep.main(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
