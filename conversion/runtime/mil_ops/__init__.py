"""The operations of ML Programs: one builder per kind, from the stored parameters to a function."""

from conversion.runtime.mil_ops import arrangement, dense, elementwise, normalization, reduction, spatial
from conversion.runtime.mil_ops.compression import CONSTANT_EXPRESSIONS
from conversion.runtime.mil_ops.op import Op, OpBuilder, Operand, Variable

OPS: dict[str, OpBuilder] = {
    **spatial.OPS,
    **dense.OPS,
    **elementwise.OPS,
    **normalization.OPS,
    **reduction.OPS,
    **arrangement.OPS,
}

# Kinds that only rearrange values: they keep a preceding softmax a softmax.
REARRANGING_OPS = frozenset({"cast", "expand_dims", "flatten2d", "identity", "reshape", "squeeze", "transpose"})

__all__ = ["CONSTANT_EXPRESSIONS", "OPS", "REARRANGING_OPS", "Op", "OpBuilder", "Operand", "Variable"]
