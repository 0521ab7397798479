"""The allowed values of a configuration's fields, declared once, for options given as text and for values from Python.

@dataclass(frozen=True)
class SweepConfig:
    trials: Annotated[int, Whole(1)] = 12

    def __post_init__(self) -> None:
        validate(self)

parser.add_argument("--trials", type=allowed(SweepConfig, "trials"))
"""

from __future__ import annotations

import argparse
import inspect
import sys
import types
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from architectures.errors import UsageError
from architectures.ranges import MAX_STEPS, Range, distance, steps_between

MAX_NAME = 200  # characters
Config = TypeVar("Config")


class InvalidValue(argparse.ArgumentTypeError):
    """A value that is not allowed; argparse prefixes the message with the option, `validate` with the field."""


class Allowed(ABC):
    """The values of a field. Called with an option's text it is an argparse type."""

    def __call__(self, text: str) -> Any:
        return self.check(self.read(text))

    def read(self, text: str) -> object:
        """Convert an option's text to the value that is checked."""
        return text

    @abstractmethod
    def check(self, value: object) -> Any:
        """Return the value as stored in the field; raise InvalidValue."""


@dataclass(frozen=True)
class Whole(Allowed):
    """A whole number.

    >>> Whole(1)("12"), Whole(1).check(12)
    (12, 12)
    """

    minimum: int
    maximum: int | None = None

    def read(self, text: str) -> object:
        try:
            return int(text)
        except ValueError:
            return text

    def check(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):  # includes NumPy's integers
            raise InvalidValue(f"{value!r} is not a whole number")
        value = int(value)
        if value < self.minimum:
            raise InvalidValue(f"{value} is too small: at least {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise InvalidValue(f"{value} is too large: at most {self.maximum}")
        return value


@dataclass(frozen=True)
class Number(Allowed):
    """A number from `minimum` to `maximum`, excluding the latter if `open_above`."""

    minimum: float
    maximum: float
    open_above: bool = False

    def read(self, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text

    def check(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InvalidValue(f"{value!r} is not a number")
        number = float(value)
        if not self.minimum <= number <= self.maximum or (self.open_above and number == self.maximum):
            above = "below" if self.open_above else "at most"
            raise InvalidValue(f"{value} is out of range: at least {self.minimum:g} and {above} {self.maximum:g}")
        return number


@dataclass(frozen=True)
class NumberRange(Allowed):
    """The lowest and the highest number: LOW:HIGH as text, or one number for both.

    LOW:HIGH:STEP allows only the numbers at this distance from each other; on a `logarithmic` scale, each is the
    previous one times the step.

    >>> NumberRange(Number(0, 1))("0:0.5"), NumberRange(Number(0, 1))("0:0.5:0.25")
    ((0.0, 0.5), (0.0, 0.5, 0.25))
    """

    each: Number
    logarithmic: bool = False

    def read(self, text: str) -> object:
        found = tuple(map(self.each.read, text.split(":")))
        return found * 2 if len(found) == 1 else found

    def check(self, value: object) -> Range:
        if not isinstance(value, tuple | list) or len(value) not in (2, 3):
            raise InvalidValue(
                f"{value!r} is not a pair of numbers, the lowest and the highest, with or without a step"
            )
        low, high = map(self.each.check, value[:2])
        if low > high:
            raise InvalidValue(f"{low:g}:{high:g} is an empty range: write the lower bound first, {high:g}:{low:g}")
        if len(value) == 2:
            return low, high
        least = 1 if self.logarithmic else 0
        step = Number(least, sys.float_info.max).check(value[2])
        if step == least or distance(low, high, step, logarithmic=self.logarithmic) > MAX_STEPS:
            kind = "factor" if self.logarithmic else "step"
            raise InvalidValue(f"{step:g} is too small a {kind} from {low:g} to {high:g}: at most {MAX_STEPS:,} steps")
        if low < high and steps_between(low, high, step, logarithmic=self.logarithmic) < 1:
            kind = "factor" if self.logarithmic else "step"
            raise InvalidValue(f"{step:g} is too large a {kind} from {low:g} to {high:g}: it never reaches {high:g}")
        return low, high, step


@dataclass(frozen=True)
class Several(Allowed):
    """Any number of values of one kind, at least `minimum`; as text, separated by commas.

    With `distinct`, duplicates are removed.
    """

    each: Allowed
    minimum: int = 0
    distinct: bool = False

    def read(self, text: str) -> object:
        return tuple(self.each.read(part.strip()) for part in text.split(","))

    def check(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list):
            raise InvalidValue(f"{value!r} is not a tuple")
        if len(value) < self.minimum:
            raise InvalidValue(f"it is empty: give at least {self.minimum}")
        found = tuple(self.each.check(one) for one in value)
        return tuple(dict.fromkeys(found)) if self.distinct else found


@dataclass(frozen=True)
class Wholes(Several):
    """Distinct whole numbers; as text, in any order, and duplicates are removed."""

    def read(self, text: str) -> object:
        found = super().check(super().read(text))
        return tuple(sorted(set(found)))

    def check(self, value: object) -> tuple[int, ...]:
        found = super().check(value)
        for position, one in enumerate(found):
            if one in found[:position]:
                raise InvalidValue(f"it holds {one} twice")
        return found


@dataclass(frozen=True)
class Choice(Allowed):
    """One of these."""

    choices: tuple[object, ...]

    def check(self, value: object) -> object:
        value = _plain(value)
        if not any(value == choice and type(value) is type(choice) for choice in self.choices):
            raise InvalidValue(f"{value!r} is not among {', '.join(map(str, self.choices))}")
        return value


@dataclass(frozen=True)
class Name(Allowed):
    """A name that every store accepts.

    >>> Name()("mnist-2")
    'mnist-2'
    """

    empty: bool = False  # whether '' stands for a default

    def __call__(self, text: str) -> str:
        return Name().check(text)  # an option that is given is not empty

    def check(self, value: object) -> str:
        value = _plain(value)
        if value == "" and self.empty:
            return ""
        if not isinstance(value, str) or not _is_name(value):
            raise InvalidValue(
                f"{value!r} is not a name: 1 to {MAX_NAME} printable characters, none of / : \" ' \\ %, not . or .."
            )
        return value


def _is_name(text: str) -> bool:
    signs = any(sign in text for sign in "/:\"'\\%")
    return bool(text.strip()) and text not in (".", "..") and len(text) <= MAX_NAME and not signs and text.isprintable()


@dataclass(frozen=True)
class PluginName(Allowed):
    """A module's name, or a file's path, which is made absolute for the record."""

    def check(self, value: object) -> str:
        value = _plain(value)
        if not isinstance(value, str) or not value:
            raise InvalidValue(f"{value!r} is not a module's name or a path ending in .py")
        return str(Path(value).resolve()) if value.endswith(".py") else value


@dataclass(frozen=True)
class Instance(Allowed):
    """Any value of a type."""

    type: type | tuple[type, ...]
    words: str

    def check(self, value: object) -> object:
        value = _plain(value)
        if not isinstance(value, self.type):
            raise InvalidValue(f"{value!r} is not {self.words}")
        return value


PLUGINS = Several(PluginName(), distinct=True)


@dataclass(frozen=True)
class _Tuple(Allowed):
    """A tuple with a kind for each place."""

    kinds: tuple[Allowed, ...]

    def check(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or len(value) != len(self.kinds):
            raise InvalidValue(f"{value!r} is not a tuple of {len(self.kinds)}")
        return tuple(kind.check(one) for kind, one in zip(self.kinds, value, strict=True))


@dataclass(frozen=True)
class _OrNone(Allowed):
    """A value, or None if it was not given; the text of an option is never None."""

    given: Allowed

    def __call__(self, text: str) -> Any:
        return self.given(text)

    def check(self, value: object) -> Any:
        return None if value is None else self.given.check(value)


def _plain(value: object) -> Any:
    """Convert a NumPy scalar to a Python one, which can be recorded; leave anything else unchanged."""
    numpy = sys.modules.get("numpy")  # if it is not imported, no value is a NumPy scalar
    return value.item() if numpy and isinstance(value, numpy.generic) else value


DESCRIBED = {
    bool: "True or False",
    str: "a text",
    int: "a whole number",
    float: "a number",
    Path: "a path",
}


def _of_hint(hint: Any) -> Allowed:
    """Return what a field's annotation allows: its `Allowed` if it has one, else values of its type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        declared = next((one for one in hint.__metadata__ if isinstance(one, Allowed)), None)
        return declared or _of_hint(arguments[0])
    if origin is Literal:
        return Choice(arguments)
    if origin in (Union, types.UnionType):
        members = [one for one in arguments if one is not type(None)]
        if all(get_origin(one) is Literal for one in members):
            kind: Allowed = Choice(tuple(choice for one in members for choice in get_args(one)))
        elif len(members) == 1:
            kind = _of_hint(members[0])
        else:
            kind = Instance(tuple(members), " or ".join(one.__name__ for one in members))
        return _OrNone(kind) if type(None) in arguments else kind
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return Several(_of_hint(arguments[0]))
        return _Tuple(tuple(map(_of_hint, arguments)))
    plain = origin or hint
    return Instance(plain, DESCRIBED.get(plain, f"a {plain.__name__}"))


@cache
def _declared(config: Any) -> dict[str, Allowed]:
    hints: dict[str, Any] = {}
    for base in reversed(config.__mro__):
        # The namespace of the class; under `runpy`, sys.modules may have another module with this name.
        written = vars(base).get("__post_init__")
        names = written.__globals__ if written else vars(sys.modules[base.__module__])
        hints |= inspect.get_annotations(base, globals=names, eval_str=True)
    return {field.name: _of_hint(hints[field.name]) for field in fields(config)}


def allowed(config: type, field: str) -> Allowed:
    """Return the allowed values of a dataclass's field: the argparse type of its option."""
    return _declared(config)[field]


def is_range(config: type, field: str) -> bool:
    """Return whether a name is a dataclass's field for a lowest and a highest number.

    >>> @dataclass(frozen=True)
    ... class Night:
    ...     dropout: Annotated[Range, NumberRange(Number(0, 1))] | None = None
    >>> is_range(Night, "dropout"), is_range(Night, "dataset")
    (True, False)
    """
    kind = _declared(config).get(field)
    return isinstance(kind.given if isinstance(kind, _OrNone) else kind, NumberRange)


def validate(config: object) -> None:
    """Check every field of a frozen dataclass; convert lists to tuples, and NumPy scalars to Python's.

    Raises:
        UsageError: naming the first invalid field.

    >>> @dataclass(frozen=True)
    ... class Night:
    ...     trials: Annotated[int, Whole(1)] = 12
    ...     def __post_init__(self): validate(self)
    >>> Night(-1)
    Traceback (most recent call last):
    architectures.errors.UsageError: Night.trials: -1 is too small: at least 1.
    """
    for name, kind in _declared(type(config)).items():  # type: ignore[arg-type]
        try:
            value = kind.check(getattr(config, name))
        except InvalidValue as error:
            raise UsageError(f"{type(config).__name__}.{name}: {error}.") from None
        object.__setattr__(config, name, value)


def as_recorded(config: type[Config], **values: object) -> Config:
    """Build a dataclass from a record without validation: the limits may have changed since.

    Raises:
        TypeError: if a field without a default is missing, as from the dataclass itself.
    """
    made = object.__new__(config)
    for field in fields(config):  # type: ignore[arg-type]
        value = values.get(field.name, field.default)
        if value is MISSING and field.default_factory is not MISSING:
            value = field.default_factory()
        if value is MISSING:
            raise TypeError(f"{config.__name__} needs {field.name!r}.")
        object.__setattr__(made, field.name, value)
    return made
