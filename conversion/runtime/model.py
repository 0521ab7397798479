"""A Core ML file of any supported kind, with named features as inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conversion.runtime.archives import extracted
from conversion.runtime.features import Feature, batched, single
from conversion.runtime.interface import Metadata, NotCheckable
from conversion.runtime.limits import one_network
from conversion.runtime.model_file import content_of, metadata, parse_model
from conversion.runtime.network import blaming
from conversion.runtime.package import Package, is_package
from conversion.runtime.stages import Stage, stage
from conversion.runtime.weight_references import check_weights


class Model:
    """A loaded file with its inputs and outputs."""

    def __init__(self, made: Stage, told: Metadata, *, source: str) -> None:
        self._stage, self.metadata, self._source = made, told, source

    @property
    def kind(self) -> str:
        """Its kind in the format, such as "neuralNetwork", "mlProgram", "pipelineClassifier"."""
        return self._stage.kind

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """What it takes."""
        return self._stage.inputs

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """What it returns."""
        return self._stage.outputs

    def predict(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs for one example.

        Args:
            values: by input name: numbers, texts, arrays of the stated shape, dictionaries from label to number, images
                as uint8 (height, width, channels), with channels red, green, blue.

        Returns:
            By output name: the same types; for a classifier, the label and the dictionary of probabilities.

        Raises:
            UsageError: if the values do not fit the inputs.
            CorruptModel: if the file does not compute what it declares.
            NotCheckable: if a value leads to something that cannot be executed.
        """
        answer = self._stage.run(batched(values, self.inputs))
        with blaming(self._source, f"model {self.kind}"):
            return {each.name: single(answer[each.name], each) for each in self.outputs if each.name in answer}


def load_model(path: Path) -> Model:
    """Load a file or a package; see `conversion.runtime.load_model`."""
    source = str(path)
    with extracted(path) as found:
        package = Package(found, source=source) if is_package(found) else None
        content = package.model if package else content_of(found, source=source)
        model, unknown = parse_model(content, source)
        if unknown:
            raise NotCheckable(f"{source}: {unknown} has a field that this version does not know.")
        check_weights(model, package, source)
        with one_network():
            return Model(stage(model, package, source=source), metadata(model.description), source=source)
