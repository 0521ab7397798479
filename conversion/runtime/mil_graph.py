"""Build a network of NumPy operations from an ML Program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.runtime.interface import Array, CorruptModel, NotCheckable
from conversion.runtime.limits import MAX_OPERATIONS, Unsupported, bounded_total
from conversion.runtime.mil_ops import CONSTANT_EXPRESSIONS, OPS, REARRANGING_OPS, Op, Operand, Variable
from conversion.runtime.mil_values import FLEXIBLE, Blob, Constant, TensorType, constant, tensor_type
from conversion.runtime.network import Network, Node, Operation, blaming
from conversion.runtime.precision import round_to_half
from conversion.runtime.precision import stored as as_stored

MAKES_OWN_MEMORY = frozenset({"conv", "linear", "matmul"})  # a ReLU may overwrite their output if it is the only reader


@dataclass(frozen=True)
class Classification:
    """The operation that adds names to probabilities; always the last one."""

    label_name: str
    probabilities_name: str
    labels: tuple[str, ...] | tuple[int, ...]
    probabilities: str  # the blob that it reads


class Program:
    """The operations between the inputs and outputs.

    Args:
        block: the message of the program's only function.
        inputs: names and types of the function's inputs, with fixed sizes.
        blob: reads from a weight file.
        source: name of the file, for errors.

    Raises:
        CorruptModel: if an operation reads a missing value, writes an existing one, or contradicts itself.
        NotCheckable: if an operation is unknown.
    """

    def __init__(
        self, block: Any, *, inputs: Sequence[Variable], blob: Blob, source: str, flexible: bool = False
    ) -> None:
        self._source, self._blob, self._flexible = source, blob, flexible
        self._known: dict[str, Operand] = {variable.name: variable for variable in inputs}
        self._inputs: dict[str, Array] = {}  # constants that operations read as blobs
        self._nodes: list[Node] = []
        self.ops: list[Op] = []  # those that compute something, in order
        self.kinds: list[str] = []
        self.classification: Classification | None = None
        if len(block.operations) > MAX_OPERATIONS:
            raise NotCheckable(f"{source}: has {len(block.operations):,} operations; the limit is {MAX_OPERATIONS:,}.")
        for stored in block.operations:
            title = _title(stored)
            if self.classification:
                raise NotCheckable(f"{source}: {title} comes after the operation 'classify'.")
            with blaming(source, title), np.errstate(all="ignore"):
                self._add(stored, title)
        outputs = [self.classification.probabilities] if self.classification else list(block.outputs)
        if not outputs or not {name for node in self._nodes for name in node.outputs}.issuperset(outputs):
            what = "probabilities" if self.classification else "outputs"
            raise CorruptModel(f"{source}: its {what} do not depend on the image.")
        self.network: Network = Network(
            self._nodes,
            inputs=[variable.name for variable in inputs],
            outputs=outputs,
            source=source,
            constants=self._inputs,
        )

    @property
    def weights(self) -> dict[str, dict[str, Array]]:
        """Decoded weights by operation name and parameter name."""
        return {op.name: op.weights for op in self.ops if op.weights}

    def _add(self, stored: Any, title: str) -> None:
        if len(stored.blocks):
            raise Unsupported("it contains blocks of operations")
        if stored.type == "const":
            self._add_const(stored)
        elif stored.type in CONSTANT_EXPRESSIONS:
            op = self._op(stored)
            values = CONSTANT_EXPRESSIONS[stored.type](op)
            op.refuse_unread()
            self._define_constants(op, values)
        elif stored.type == "classify":
            self._add_classify(stored)
        elif stored.type in OPS:
            self._add_operation(self._op(stored), title)
        else:
            raise Unsupported("its kind is unknown")

    def _add_const(self, stored: Any) -> None:
        if len(stored.outputs) != 1 or len(stored.inputs):
            raise ValueError(f"it has {len(stored.inputs)} inputs and {len(stored.outputs)} outputs")
        if set(stored.attributes) - {"name"} != {"val"}:
            raise Unsupported(f"it has the attributes {', '.join(sorted(stored.attributes))}")
        value = self._constant(stored.attributes["val"])
        if (
            stored.outputs[0].type.WhichOneof("type") != "listType"
            and tensor_type(stored.outputs[0].type) != value.type
        ):
            raise ValueError(f"it declares another type than {value.type.name} of shape {value.type.shape}")
        self._define(stored.outputs[0].name, value)

    def _add_operation(self, op: Op, title: str) -> None:
        operation = OPS[op.kind](op)
        op.refuse_unread()
        self.kinds.append(op.kind)
        if all(isinstance(operand, Constant) for _, operand in op.reads):
            out = operation(*(_lifted(operand) for _, operand in op.reads))
            values = [np.asarray(value) for value in (out if isinstance(out, list) else [out])]
            if len(values) != len(op.outputs):
                raise ValueError(f"it has {len(op.outputs)} outputs, not {len(values)}")
            self._define_constants(op, [value[0] for value in values])
            return
        names = []
        for parameter, operand in op.reads:
            if isinstance(operand, Variable):
                names.append(operand.name)
                continue
            name = f"{op.outputs[0]}\0{parameter}"  # unique, because names contain no null byte
            self._inputs[name] = _lifted(operand).astype(np.float32)
            names.append(name)
        if any(FLEXIBLE in declared.shape for declared in op.types):
            op = dataclasses.replace(op, types=_sized(op, operation))
        for name, declared in zip(op.outputs, op.types, strict=True):
            self._define(name, Variable(name, declared))
        self.ops.append(op)
        self._nodes.append(
            Node(
                title,
                op.kind,
                tuple(names),
                op.outputs,
                operation,
                rearranges=op.kind in REARRANGING_OPS,
                makes_own_memory=op.kind in MAKES_OWN_MEMORY,
                shapes=tuple(declared.shape for declared in op.types),
            )
        )

    def _add_classify(self, stored: Any) -> None:
        probabilities, classes = (self._arguments(stored, name) for name in ("probabilities", "classes"))
        if set(stored.inputs) != {"probabilities", "classes"} or len(probabilities) != 1 or len(classes) != 1:
            raise Unsupported("it has other inputs than probabilities and classes")
        if set(stored.attributes) - {"name"} or len(stored.outputs) != 2:
            raise Unsupported("it has attributes, or not two outputs")
        if isinstance(classes[0], Variable) or classes[0].values.ndim != 1:
            raise ValueError("its classes are not a list")
        if classes[0].type.name not in ("STRING", "INT64"):
            raise ValueError(f"its classes are of the type {classes[0].type.name}")
        if isinstance(probabilities[0], Constant):
            raise ValueError("its probabilities do not depend on the image")
        label, output = (feature.name for feature in stored.outputs)
        for name in (label, output):
            self._refuse_known(name)
        self.kinds.append(stored.type)
        labels = tuple(classes[0].values.tolist())
        self.classification = Classification(label, output, labels, probabilities[0].name)

    def _op(self, stored: Any) -> Op:
        params = {name: self._arguments(stored, name) for name in stored.inputs}
        for name, value in stored.attributes.items():  # iOS 16 stores the parameters of compressed weights here
            if name in params:
                raise ValueError(f"it has the parameter {name!r} twice")
            if name != "name":
                params[name] = (self._constant(value),)
        if not stored.outputs:
            raise ValueError("it has no output")
        types = tuple(tensor_type(output.type, flexible=self._flexible) for output in stored.outputs)
        return Op(stored.outputs[0].name, stored.type, params, tuple(output.name for output in stored.outputs), types)

    def _arguments(self, stored: Any, name: str) -> tuple[Operand, ...]:
        """Return the values of a parameter, which are names or constants."""
        if name not in stored.inputs:
            raise ValueError(f"it has no {name}")
        found: list[Operand] = []
        for argument in stored.inputs[name].arguments:
            if argument.WhichOneof("binding") == "value":
                found.append(self._constant(argument.value))
                continue
            if argument.WhichOneof("binding") is None or argument.name not in self._known:
                raise ValueError(f"it reads {argument.name!r}, which no operation above writes")
            operand = self._known[argument.name]
            if isinstance(operand, Constant):
                bounded_total(operand.values.size)  # read again
            found.append(operand)
        return tuple(found)

    def _constant(self, stored: Any) -> Constant:
        found = constant(stored, self._blob)
        found = dataclasses.replace(found, values=as_stored(found.values))
        bounded_total(found.values.size)
        return found

    def _define_constants(self, op: Op, values: Sequence[np.ndarray]) -> None:
        if len(values) != len(op.outputs):
            raise ValueError(f"it has {len(op.outputs)} outputs, not {len(values)}")
        for name, declared, value in zip(op.outputs, op.types, values, strict=True):
            if FLEXIBLE in declared.shape:
                declared = declared.sized(value.shape)
            if value.shape != declared.shape:
                raise ValueError(f"it declares the shape {declared.shape} and computes {value.shape}")
            bounded_total(value.size)
            self._define(
                name, Constant(declared, as_stored(_typed(value, declared, compressed=op.kind in CONSTANT_EXPRESSIONS)))
            )

    def _define(self, name: str, operand: Operand) -> None:
        self._refuse_known(name)
        self._known[name] = operand

    def _refuse_known(self, name: str) -> None:
        if not name or "\0" in name:
            raise ValueError(f"an output is called {name!r}")
        if name in self._known:
            raise ValueError(f"it writes {name!r} a second time")


def _sized(op: Op, operation: Operation) -> tuple[TensorType, ...]:
    """Return the types of an operation's outputs, with computed sizes where the file leaves them open."""
    blobs = [
        _lifted(operand).astype(np.float32)
        if isinstance(operand, Constant)
        else np.broadcast_to(np.float32(0), (1, *operand.type.shape))
        for _, operand in op.reads
    ]
    out = operation(*blobs)
    values = out if isinstance(out, list) else [out]
    return tuple(declared.sized(np.shape(value)[1:]) for declared, value in zip(op.types, values, strict=True))


def _title(stored: Any) -> str:
    """Return an operation's name for errors: its first output, which is unique, unlike the attribute `name`."""
    name = stored.outputs[0].name if len(stored.outputs) else ""
    return f"operation {name!r} ({stored.type or 'without a kind'})"


def _lifted(operand: Operand) -> np.ndarray:
    """Return a constant as a blob with a batch axis; integers get a type in which sums do not overflow."""
    assert isinstance(operand, Constant)
    values = operand.values[None]
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def _typed(value: np.ndarray, declared: TensorType, *, compressed: bool) -> np.ndarray:
    """Convert a computed constant to the type that represents its declared type here."""
    if declared.name == "BOOL":
        return value != 0
    if declared.is_integer:
        if value.dtype.kind == "f" and not np.all(np.abs(value) < 2.0**63):
            raise ValueError("it does not compute whole numbers")
        return value.astype(np.int64) if value.dtype.kind == "f" else value
    if not declared.is_float:
        raise Unsupported(f"it computes values of the type {declared.name}")
    # Weights that are decompressed to float16 are rounded before they are used.
    rounded = compressed and declared.name == "FLOAT16"
    return round_to_half(value) if rounded else value.astype(np.float32)


def image_scaling(ops: Sequence[Op], image: Variable, *, axis: int) -> tuple[float, tuple[float, ...]]:
    """Return scale and bias that the program applies to the image before any other operation: pixel * scale + bias.

    That is a multiplication by a number, then an addition of a number per channel, as coremltools writes them for an
    `ImageType`. Either may be missing, and casts between floats may be in between. If the program starts otherwise,
    scale is 1 and bias 0. Channels are on `axis`.
    """
    channels = image.type.shape[axis]
    scale, bias, name = 1.0, (0.0,) * channels, image.name
    steps = ["mul", "add"]
    readers: dict[str, list[Op]] = {}
    for op in ops:
        for read in {operand.name for _, operand in op.reads if isinstance(operand, Variable)}:
            readers.setdefault(read, []).append(op)
    while True:
        if len(readers.get(name, [])) != 1:
            return scale, bias
        op = readers[name][0]
        if op.kind == "identity" or (op.kind == "cast" and op.types[0].is_float):
            name = op.outputs[0]
            continue
        if op.kind not in steps:
            return scale, bias
        others = [operand for _, operand in op.reads if isinstance(operand, Constant)]
        amounts = _per_channel(others[0].values, channels, axis) if len(others) == 1 else None
        if amounts is None or (op.kind == "mul" and len(set(amounts)) > 1):
            return scale, bias
        if op.kind == "mul":
            scale = amounts[0]
        else:
            bias = amounts
        steps = steps[steps.index(op.kind) + 1 :]
        name = op.outputs[0]


def _per_channel(values: np.ndarray, channels: int, axis: int) -> tuple[float, ...] | None:
    """Return a constant that is combined with an image of rank 4 as a number per channel, if possible."""
    if values.dtype != np.float32 or values.ndim > 4:
        return None
    shape = (1,) * (4 - values.ndim) + values.shape
    if shape[axis] not in (1, channels) or math.prod(shape) != shape[axis]:
        return None
    found = [float(value) for value in values.ravel()]
    return tuple(found if len(found) == channels else found * channels)
