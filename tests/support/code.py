"""Python code as a program of its own.  Run: python -m tests.support.code CODE WORD ..."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    code, *words = arguments
    sys.argv = ["-c", *words]
    exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(sys.argv[1:])
