"""The parameters of an operation, checked as its builder reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from conversion.runtime.interface import Array
from conversion.runtime.kernels import Pair
from conversion.runtime.limits import Unsupported
from conversion.runtime.mil_values import Constant, TensorType
from conversion.runtime.network import Operation

MAX_INTEGER = 2**31  # of any parameter: sizes, axes, strides


@dataclass(frozen=True)
class Variable:
    """A value that depends on the image."""

    name: str
    type: TensorType


Operand = Constant | Variable


@dataclass(frozen=True)
class Op:
    """A stored operation. Its readers raise ValueError for contradictions, and Unsupported for anything unknown.

    Parameters that no reader asked for are not supported: see `refuse_unread`.
    """

    name: str
    kind: str
    params: dict[str, tuple[Operand, ...]]
    outputs: tuple[str, ...]
    types: tuple[TensorType, ...]  # of the outputs
    reads: list[tuple[str, Operand]] = field(default_factory=list)  # what the operation receives, in order
    weights: dict[str, Array] = field(default_factory=dict)  # filled as they are read
    asked: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Return whether the parameter exists."""
        self.asked.add(name)
        return name in self.params

    def operand(self, name: str) -> Operand:
        """Return a parameter with one value."""
        values = self.operands(name)
        if len(values) != 1:
            raise ValueError(f"its {name} has {len(values)} values")
        return values[0]

    def operands(self, name: str) -> tuple[Operand, ...]:
        """Return a parameter with one or several values."""
        if not self.has(name):
            raise ValueError(f"it has no {name}")
        return self.params[name]

    def read(self, *names: str) -> None:
        """Pass these parameters to the operation as blobs, in this order."""
        for name in names:
            self._read(name, self.operand(name))

    def read_several(self, name: str) -> None:
        """Pass all values of a parameter to the operation as blobs."""
        if not self.operands(name):
            raise ValueError(f"its {name} has no values")
        for index, operand in enumerate(self.operands(name)):
            self._read(f"{name}_{index}", operand)

    def _read(self, name: str, operand: Operand) -> None:
        if isinstance(operand, Constant):
            if operand.values.dtype == object:
                raise ValueError(f"its {name} is a text")
            if operand.type.is_float and operand.type.shape:
                self.weights[name] = operand.values
        self.reads.append((name, operand))

    def rank(self, name: str = "x") -> int:
        """Return the rank of a parameter as the file counts it."""
        return len(self.operand(name).type.shape)

    def constant(self, name: str) -> np.ndarray:
        """Return a parameter that does not depend on the image."""
        operand = self.operand(name)
        if isinstance(operand, Variable):
            raise Unsupported(f"its {name} depends on the image")
        return operand.values

    def weight(self, name: str) -> Array:
        """Return a constant parameter of floating-point numbers."""
        values = self.constant(name)
        if values.dtype != np.float32:
            raise Unsupported(f"its {name} is of the type {values.dtype}")
        self.weights[name] = values
        return values

    def number(self, name: str, default: float | None = None) -> np.float32:
        """Return a constant parameter that is one number."""
        if default is not None and not self.has(name):
            return np.float32(default)
        values = self.constant(name)
        if values.size != 1 or values.dtype == object:
            raise ValueError(f"its {name} is not one number")
        return np.float32(values.item())

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return a constant parameter of several integers."""
        if default is not None and not self.has(name):
            return tuple(default)
        values = self.constant(name)
        if values.dtype.kind not in "iu" or values.ndim > 1:
            raise ValueError(f"its {name} are not whole numbers")
        found = tuple(int(value) for value in values.ravel())
        if any(abs(value) > MAX_INTEGER for value in found):
            raise ValueError(f"its {name} are {found}")
        return found

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a constant parameter that is one integer."""
        found = self.integers(name, None if default is None else (default,))
        if len(found) != 1:
            raise ValueError(f"its {name} is not one whole number")
        return found[0]

    def pair(self, name: str, default: Pair | None = None) -> Pair:
        """Return a constant parameter of two positive integers, height first; with one dimension, the width only."""
        found = self.integers(name, default)
        found = (1, *found) if len(found) == 1 else found
        if len(found) != 2 or min(found) < 1:
            raise ValueError(f"its {name} are {found}, not two positive numbers")
        return found[0], found[1]

    def flag(self, name: str, default: bool) -> bool:
        """Return a constant parameter that is true or false."""
        return self.flags(name, (default,))[0]

    def flags(self, name: str, default: Sequence[bool]) -> tuple[bool, ...]:
        """Return a constant parameter of several booleans."""
        if not self.has(name):
            return tuple(default)
        values = self.constant(name)
        if values.dtype != bool or not values.size:
            raise ValueError(f"its {name} is neither true nor false")
        return tuple(bool(value) for value in values.ravel())

    def text(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return a constant parameter that is one of several words."""
        if default is not None and not self.has(name):
            return default
        values = self.constant(name)
        if values.size != 1 or values.dtype != object:
            raise ValueError(f"its {name} is not a text")
        if values.item() not in choices:
            raise Unsupported(f"its {name} is {values.item()!r}; known are {', '.join(choices)}")
        return str(values.item())

    def refuse_unread(self) -> None:
        """Raise Unsupported if the operation has a parameter that its builder did not ask for."""
        for name in self.params.keys() - self.asked:
            raise Unsupported(f"it has the unknown parameter {name!r}")


OpBuilder = Callable[[Op], Operation]
