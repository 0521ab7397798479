"""Check whether a file computes what its model does, by one of two routes.

The first route puts each tensor of the file back into the layer that it came from (`reference_model`). It needs only
the file and the model, but cannot know every place into which a converter folds a constant of the network, such as the
3 of a hard sigmoid in a bias. So it can pass a file, but cannot fail one alone.

The second route converts the model here without compression, and checks that this reference answers as the model does.
The file must have the same operations, and each of its constants must match the reference's by the rule of its
compression. A file with other operations differs if the first route finds a fault with it, but none with the reference.
Otherwise, the result is not checkable.
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
    """What was found about a file's weights and predictions."""

    route: Route = "none"  # none: not compared
    weights: tuple[Weight, ...] = ()
    parity: tuple[Parity, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """Differences in words; empty if the file computes what its model does."""
        of_weights = [weight.fault for weight in self.weights if weight.fault]
        return (*of_weights, *(fault for part in self.parity for fault in part.faults))


@dataclass(frozen=True)
class Executed:
    """A file and its predictions."""

    executable: Executable
    compression: str  # a key of `conversion.verification.compression_bounds.RULES`
    answers: Answers


def compare_with_model(file: Executed, candidate: Candidate, splits: Mapping[str, Split]) -> ModelComparison:
    """Compare a file with its model.

    Args:
        splits: images and labels by name; empty if the file cannot take them.

    Raises:
        NotCheckable: if neither route can decide.
    """
    twin = _by_twin(file, candidate, splits)
    if not twin.faults:
        return twin
    try:
        return _by_conversion(file, candidate, splits) or _confirmed(twin, file, candidate, splits)
    except ProjectError as error:
        raise NotCheckable(f"its weights cannot be put back into the model ({twin.faults[0]}), and {error}") from error


def _by_twin(file: Executed, candidate: Candidate, splits: Mapping[str, Split]) -> ModelComparison:
    """Compare with the model after putting the file's weights into it."""
    twin = ReferenceModel(network_of(candidate.classifier), file.executable.weights, file.compression)
    with twin.weights_of_the_file():
        parity = parities(splits, file.answers, candidate.forward, candidate.exact_forward)
    return ModelComparison("twin", twin.weights, parity)


def _by_conversion(file: Executed, candidate: Candidate, splits: Mapping[str, Split]) -> ModelComparison | None:
    """Compare with our own uncompressed conversion; return None if the file has other inputs or operations."""
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
    """Return the result of the first route, if it finds no fault in our own conversion.

    Raises:
        NotCheckable: if it does.
    """
    own = _conversion(candidate, file.executable, file.compression)
    if _by_twin(Executed(own, file.compression, _answers(own, splits)), candidate, splits).faults:
        raise NotCheckable("its operations are not those of the model's conversion here.")
    return twin


def _conversion(candidate: Candidate, executable: Executable, compression: str) -> Executable:
    """Convert the model to the format of a file."""
    return candidate.converter.executable(FORMAT_OF[executable.interface.format], cast(Compression, compression))


def _answers(executable: Executable, splits: Mapping[str, Split]) -> Answers:
    return {name: executable.probabilities(split.images) for name, split in splits.items()}
