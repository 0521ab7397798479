"""Whether a file computes what its model does, by the model with the file's weights or the model's conversion.

The first route puts each tensor of the file back into the layer that it came from (`reference_model`). It needs nothing
but file and model, and cannot know every place into which a converter folds a constant of the network: the 3 of a hard
sigmoid in a bias, a factor in a kernel. So it can pass a file, and not fail one by itself.

The second route takes for its reference the uncompressed file that the model is converted to here, which must answer
as the model does. The file must have its operations, and each of the file's constants must be the reference's by the
rule of its compression. A file of other operations differs if the first route, which finds fault with it, finds none
with the model's own conversion. Else neither route can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from architectures.errors import ProjectError
from conversion.coreml.formats import Compression, Format
from conversion.promotion.candidate import Candidate
from conversion.runtime import Executable, NotCheckable
from conversion.verification.parity import FILE, UNCOMPRESSED, Answers, Parity, parities
from conversion.verification.reference_model import FOLDING, ReferenceModel, Weight, held
from experiments.classifier import network_of
from experiments.datasets import Split

Route = Literal["twin", "conversion", "none"]
FORMAT_OF: dict[str, Format] = {"neuralnetwork": "mlmodel", "mlprogram": "mlpackage"}


@dataclass(frozen=True)
class ModelComparison:
    """What was found about a file's weights and answers."""

    route: Route = "none"  # not compared
    weights: tuple[Weight, ...] = ()
    parity: tuple[Parity, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """The differences in words; empty for a file that computes what its model does."""
        of_weights = [weight.fault for weight in self.weights if weight.fault]
        return (*of_weights, *(fault for part in self.parity for fault in part.faults))


@dataclass(frozen=True)
class Executed:
    """A file and its answers."""

    executable: Executable
    compression: str  # a key of `conversion.verification.compression_bounds.RULES`
    answers: Answers


def compare_with_model(file: Executed, candidate: Candidate, splits: Mapping[str, Split]) -> ModelComparison:
    """Compare a file with its model.

    Args:
        splits: images and labels by name; empty where the file cannot take them.

    Raises:
        NotCheckable: if neither route can tell.
    """
    twin = _by_twin(file, candidate, splits)
    if not twin.faults:
        return twin
    try:
        return _by_conversion(file, candidate, splits) or _confirmed(twin, file, candidate, splits)
    except ProjectError as error:
        raise NotCheckable(f"its weights cannot be put back into the model ({twin.faults[0]}), and {error}") from error


def _by_twin(file: Executed, candidate: Candidate, splits: Mapping[str, Split]) -> ModelComparison:
    """Compare with the model that has the file's weights."""
    twin = ReferenceModel(network_of(candidate.classifier), file.executable.weights, file.compression)
    with twin.weights_of_the_file():
        parity = parities(splits, file.answers, candidate.forward, candidate.exact_forward)
    return ModelComparison("twin", twin.weights, parity)


def _by_conversion(file: Executed, candidate: Candidate, splits: Mapping[str, Split]) -> ModelComparison | None:
    """Compare with our own uncompressed conversion of the model; None if the file has other inputs or operations."""
    reference = _conversion(candidate, file.executable, "none")
    ours, theirs = file.executable.blueprint, reference.blueprint
    if file.executable.interface.input != reference.interface.input or ours.operations != theirs.operations:
        return None
    pairs = zip(theirs.constants, ours.constants, strict=True)
    weights = tuple(
        held(
            name,
            tensor,
            stored,
            expected=expected,
            slack=np.abs(expected) * np.float32(FOLDING),
            compression=file.compression,
        )
        for (name, expected), (tensor, stored) in pairs
    )
    executed = FILE if file.compression == "none" else UNCOMPRESSED
    answers = file.answers if executed == FILE else _answers(reference, splits)
    parity = parities(splits, answers, candidate.forward, candidate.exact_forward)
    return ModelComparison("conversion", weights, tuple(replace(part, executed=executed) for part in parity))


def _confirmed(
    twin: ModelComparison, file: Executed, candidate: Candidate, splits: Mapping[str, Split]
) -> ModelComparison:
    """The result of the first route, if that finds no fault in the model's own conversion.

    Raises:
        NotCheckable: if it does.
    """
    own = _conversion(candidate, file.executable, file.compression)
    if _by_twin(Executed(own, file.compression, _answers(own, splits)), candidate, splits).faults:
        raise NotCheckable("its operations are not those of the model's conversion here.")
    return twin


def _conversion(candidate: Candidate, executable: Executable, compression: str) -> Executable:
    """The model's own conversion to the format of a file."""
    return candidate.converter.executable(FORMAT_OF[executable.interface.format], cast(Compression, compression))


def _answers(executable: Executable, splits: Mapping[str, Split]) -> Answers:
    return {name: executable.probabilities(split.images) for name, split in splits.items()}
