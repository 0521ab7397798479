"""Python code as a program of its own.  Run: python -m tests.support.code CODE"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    (code,) = arguments
    exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(sys.argv[1:])
