"""Reads the Swift sources: no type is named like one of Apple's.  Run: python ios/check_sources.py

Exit codes: 0 nothing wrong, 1 faults, one line each.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

IOS = Path(__file__).parent
OURS = ("DigitKit/Sources", "DigitKit/Tests", "Digits", "DigitsTests", "DigitsUITests")
DECLARATION = re.compile(r"^\s*(?:[@\w()]+ )*(?:actor|class|enum|protocol|struct|typealias) (\w+)", re.M)


def apple_names(ios: Path) -> dict[str, str]:
    """Where each name of a type of Apple's comes from: the list, the stubs, and the header behind Foundation."""
    stubs = ios / "Stubs"
    found = {
        name: str(file.relative_to(ios))
        for file in sorted(stubs.rglob("*.swift"))
        for name in re.findall(r"^public .*?(?:class|enum|protocol|struct|typealias) (\w+)", file.read_text(), re.M)
    }
    for page, names in re.findall(r"^(https\S+) (.+)$", (stubs / "apple-names.txt").read_text(), re.M):
        found |= dict.fromkeys(names.split(), page)
    header = (stubs / "MacTypes/MacTypes.h").read_text()
    for line in header.splitlines():
        if line.startswith("typedef"):
            declared = re.sub(r"\{.*\}", "", line.removeprefix("typedef")).rstrip(";")
            pointers = re.findall(r"\(\*(\w+)\)", declared)
            names = [part.split()[-1].strip("* ") for part in re.sub(r"\[\d+\]", "", declared).split(",")]
            found |= dict.fromkeys(pointers or names, "MacTypes.h")
    return found


def faults_of_names(ios: Path) -> Iterator[str]:
    """Types of ours that are named like one of Apple's: ambiguous where both are imported, else misleading."""
    apple = apple_names(ios)
    for place in OURS:
        for file in sorted((ios / place).rglob("*.swift")):
            for name in DECLARATION.findall(file.read_text()):
                if name in apple:
                    yield f"{file.relative_to(ios)}: type {name} is named like one of Apple's ({apple[name]})"


def main() -> int:
    faults = [*faults_of_names(IOS)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
