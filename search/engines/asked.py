"""Which values of an architecture's knobs are searched: all choices, or those given with --knob."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from architectures.errors import UsageError
from architectures.knobs import Knob, Setting
from architectures.registry import Architecture
from architectures.weights import WEIGHTS

KnobChoices = Sequence[tuple[str, tuple[Knob, ...]]]


def check_asked(architectures: Iterable[Architecture], asked: KnobChoices) -> None:
    """Raise UsageError for a knob that none of these architectures has."""
    known = {knob for architecture in architectures for knob in architecture.knobs}
    for name, _ in asked:
        if name not in known:
            raise UsageError(
                f"None of the architectures has a knob {name!r}. Their knobs: {', '.join(sorted(known)) or 'none'}."
            )


def searched(architecture: Architecture, asked: KnobChoices) -> tuple[tuple[str, tuple[Knob, ...]], ...]:
    """Return the searched values of an architecture's knobs by name; weights come with the SHA-256 of their file.

    Raises:
        UsageError: for a value that the architecture does not take, or missing weights.

    >>> from architectures import get
    >>> searched(get("malireddi"), [("kernel", (5,))])
    ()
    """
    found = {
        knob: tuple(choices[:1]) if isinstance(choices, Setting) else choices
        for knob, choices in architecture.knobs.items()
    }
    for name, values in asked:
        if name in found:
            for value in values:
                architecture.check_knob(name, value)
            found[name] = values
    if WEIGHTS in found and architecture.find_weights:
        first = {knob: choices[0] for knob, choices in found.items()}
        found[WEIGHTS] = tuple(architecture.pinned(first | {WEIGHTS: value})[WEIGHTS] for value in found[WEIGHTS])
    return tuple(sorted(found.items()))
