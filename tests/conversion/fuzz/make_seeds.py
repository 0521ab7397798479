"""Write the files that fuzzing starts from: small and real.  Run: python -m tests.conversion.fuzz.make_seeds

Some hold every layer or operation that the executors' own tests probe, side by side; the others are a published network
as it is converted and as it is compressed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.models.neural_network import quantization_utils

import architectures
from conversion.coreml.convert import convert as converted
from conversion.coreml.facts import FileFacts
from conversion.coreml.formats import FORMATS
from conversion.coreml.writing import write
from experiments.classifier import as_classifier, network_of
from tests.conversion import test_mlprogram_ops, test_mlprogram_spatial, test_runtime_layers, test_runtime_spatial
from tests.conversion.fuzz import interfaces
from tests.conversion.fuzz.sample import Sample, of_package
from tests.conversion.test_mlprogram_compression import COMPRESSIONS
from tests.support.layers import (
    OTHER,
    C,
    build_network,
    build_program,
    convert,
    convert_program,
    fragile_network,
    quiet,
    randomize,
)

SEEDS = Path(__file__).parent / "seeds"
FACTS = FileFacts(tuple("0123456789"), "bands", "0" * 64, "malireddi", "0" * 32, "", "unknown", 0.9)
LARGEST_CASE = 1500  # bytes: a few layers with large constants would outweigh all others
PER_PACKAGE = 40  # operations probed by one package: each change of one costs a look at all


def layers_network(cases: dict[str, Any]) -> bytes:
    """All probed layers side by side; the answer is computed of the image alone."""
    signs = np.ones((1, 1, 3, C), np.float32)

    def first(b: Any) -> None:
        b.add_convolution(
            "signs", 3, C, 1, 1, 1, 1, "valid", 1, signs, OTHER, True, input_name="image", output_name="x"
        )

    def soft(b: Any) -> None:
        first(b)
        b.add_reduce_mean("mean", "x", "m", axes=[-1, -2], keepdims=False)
        b.add_softmax_nd("soft", "m", "output", -1)

    whole = build_network(soft, outputs=C)
    answer = list(whole.neuralNetworkClassifier.layers)[1:]
    del whole.neuralNetworkClassifier.layers[1:]
    for name, (add, _) in cases.items():
        part = build_network(lambda b, add=add: (first(b), add(b)), outputs=C)
        for layer in list(part.neuralNetworkClassifier.layers)[1:]:
            if layer.ByteSize() > LARGEST_CASE:
                break
            layer.name = f"{name}.{layer.name}"
            for blobs in (layer.input, layer.output):
                blobs[:] = [blob if blob == "x" else f"{name}.{blob}" for blob in blobs]
            whole.neuralNetworkClassifier.layers.append(layer)
    whole.neuralNetworkClassifier.layers.extend(answer)
    return bytes(whole.SerializeToString(deterministic=True))


def saved(model: Any) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/seed.mlpackage")
        return of_package(Path(folder, "seed.mlpackage"))


def samples() -> dict[str, Sample]:
    found = {}
    for name, layers in (("layers", test_runtime_layers), ("layers_spatial", test_runtime_spatial)):
        found[name] = Sample(layers_network(layers.CASES))
    cases = {**test_mlprogram_ops.CASES, **test_mlprogram_spatial.CASES}
    names = list(cases)
    for start in range(0, len(names), PER_PACKAGE):
        chosen = [cases[name][0] for name in names[start : start + PER_PACKAGE]]

        def side_by_side(x: Any, chosen: Any = chosen) -> Any:
            for operation in chosen:
                operation(x)
            return mb.softmax(x=mb.reduce_mean(x=x, axes=[2, 3]), axis=-1)

        found[f"operations_{start}"] = saved(build_program(side_by_side))
    found["fragile"] = saved(build_program(fragile_network))
    classifier = randomize(as_classifier(architectures.build("malireddi", (28, 28, 1), 10, filters=1)))
    network = network_of(classifier)
    plain = convert(network)
    found["network"] = Sample(plain.SerializeToString(deterministic=True))
    for bits, mode in ((16, "linear"), (8, "linear"), (4, "linear_lut")):
        with quiet():
            small = quantization_utils.quantize_weights(ct.models.MLModel(plain), bits, mode)
        spec = small if not hasattr(small, "get_spec") else small.get_spec()
        found[f"network_{bits}_{mode}"] = Sample(spec.SerializeToString(deterministic=True))
    bands = randomize(as_classifier(architectures.build("malireddi", (28, 28, 2), 10, filters=1)))
    for format in FORMATS:
        file = converted(bands, FACTS, format=format)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, f"bands{file.suffix}")
            write(file, place)
            found[f"bands_{format}"] = of_package(place) if place.is_dir() else Sample(place.read_bytes())
    for precision in ("FLOAT16", "FLOAT32"):
        found[f"program_{precision}"] = saved(convert_program(network, precision=precision))
    for name in (
        "int8_zero_point",
        "palette_4",
        "pruned",
        "int4_blocks",
        "palette_vectors",
        "pruned_quantized_palette",
    ):
        target, compress, _ = COMPRESSIONS[name]
        with quiet():
            found[f"program_{name}"] = saved(compress(convert_program(network, target=target)))
    return found


if __name__ == "__main__":
    for name, sample in {**samples(), **interfaces.samples()}.items():
        sample.keep(SEEDS / f"{name}.zip")
