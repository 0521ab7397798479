"""`conversion.describe`: what any Core ML file is, with each of its bytes accounted for."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.description import describe, differences
from conversion.runtime import load
from conversion.runtime.schema import model_class
from tests.conversion.fuzz import sample
from tests.support.commands import Command, environment

SEEDS = Path(__file__).parent / "fuzz" / "seeds"
NAMES = sorted(file.stem for file in SEEDS.glob("*.zip"))


def seed(name: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return sample.read(SEEDS / f"{name}.zip").write(folder)


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def array_network(path: Path) -> Any:
    """The network of a classifier file as one that takes and gives arrays."""
    classifier = model_class().FromString(path.read_bytes())
    model = model_class()(specificationVersion=4)
    model.neuralNetwork.layers.extend(classifier.neuralNetworkClassifier.layers)
    given, answer = model.description.input.add(name="image"), model.description.output.add(name="output")
    given.type.multiArrayType.shape.extend([1, 28, 28])
    given.type.multiArrayType.dataType = 65568  # FLOAT32
    given.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=1, upperBound=-1)
    answer.type.multiArrayType.dataType = 65568
    return model


@pytest.mark.parametrize("name", NAMES)
def test_all_parts_together_are_the_file(name: str, tmp_path: Path) -> None:
    path = seed(name, tmp_path)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) or path.stat().st_size
    described = describe(path)
    parts = [part.bytes for part in described.parts]
    assert sum(parts) == described.size_bytes == size
    assert parts == sorted(parts, reverse=True)
    assert min(parts) >= 0
    json.dumps(described.as_json(), allow_nan=False)
    assert not differences(described, describe(path))


@pytest.mark.parametrize("name", ["network", "program_FLOAT32"])
def test_it_says_what_the_executor_says(name: str, tmp_path: Path) -> None:
    path = seed(name, tmp_path)
    described, interface = describe(path), load(path).interface
    assert described.labels == interface.labels
    assert described.metadata == interface.metadata
    assert described.size_bytes == interface.size_bytes
    assert described.specification_version == interface.specification_version
    (scaling,) = described.scalings
    assert (scaling.input, scaling.bias) == (interface.input.name, interface.input.bias)
    assert np.float32(scaling.scale) == np.float32(interface.input.scale)
    assert described.not_executable == ()
    least = int(name != "network")  # a single number of a program may be an epsilon: it counts as no weight
    kernels = {part.name: part.weights for part in described.parts if part.weights}
    assert (
        sum(kernels.values())
        == described.weights
        == sum(
            values.size for fields in load(path).weights.values() for values in fields.values() if values.size > least
        )
    )


@pytest.mark.parametrize(
    ("name", "storage"),
    [
        ("network", "float32"),
        ("network_8_linear", "8 bits, scale"),
        ("program_FLOAT16", "float16"),
        ("program_palette_4", "4 bits, table"),
    ],
)
def test_the_storage_is_what_is_stored(name: str, storage: str, tmp_path: Path) -> None:
    described = describe(seed(name, tmp_path))
    largest = next(part for part in described.parts if part.weights)
    assert storage in largest.storage
    assert storage in described.storage


def test_a_network_of_arrays_is_described(command: Command, tmp_path: Path) -> None:
    path = saved(array_network(seed("network", tmp_path)), tmp_path / "arrays.mlmodel")
    done = command("conversion.describe", path)
    assert done.code == 0
    assert "input image: array FLOAT32 1x28x28, or 1-any" in done.out
    assert "can be executed here, as far as can be seen" in done.out
    model = model_class()(specificationVersion=1)
    model.bayesianProbitRegressor.numberOfFeatures = 1
    done = command("conversion.describe", saved(model, tmp_path / "other.mlmodel"))
    assert "cannot be executed here: holds a model of the type bayesianProbitRegressor" in done.out


def test_apples_own_extractor_is_said_in_one_line(tmp_path: Path) -> None:
    model = model_class()(specificationVersion=1)
    model.pipelineClassifier.pipeline.models.add().visionFeaturePrint.scene.version = 1
    glm = model.pipelineClassifier.pipeline.models.add().glmClassifier
    glm.stringClassLabels.vector.extend(["hotdog", "not hotdog"])
    described = describe(saved(model, tmp_path / "x.mlmodel"))
    assert described.labels == ("hotdog", "not hotdog")
    assert [part.name for part in described.parts if part.name.startswith("1/")] == ["1/glmClassifier"]
    (reason,) = described.not_executable
    assert "only Apple's runtime has it" in reason


def test_shapes_are_told_as_the_file_leaves_them_open(tmp_path: Path) -> None:
    model = model_class()(specificationVersion=4)
    model.neuralNetwork.SetInParent()
    array = model.description.input.add(name="x").type.multiArrayType
    array.shape.extend([1, 9])
    for low, high in ((1, 1), (9, 20), (2, -1)):
        array.shapeRange.sizeRanges.add(lowerBound=low, upperBound=high)
    model.description.output.add(name="y").type.multiArrayType.SetInParent()
    described = describe(saved(model, tmp_path / "x.mlmodel"))
    assert described.inputs[0].type.endswith(" 1x9, or 1 by 9-20 by 2-any")
    assert described.outputs[0].type.endswith(" of no stated shape")


def test_every_unknown_kind_is_named(tmp_path: Path) -> None:
    path = seed("network", tmp_path)
    model = model_class().FromString(path.read_bytes())
    for name in ("one", "two"):
        model.neuralNetworkClassifier.layers.add(name=name).custom.className = "Mine"
    model.neuralNetworkClassifier.layers.add(name="three").embedding.SetInParent()
    reasons = describe(saved(model, path)).not_executable
    assert reasons == ("2 layers of the unknown kind custom", "1 layer of the unknown kind embedding")


def test_missing_weights_are_said_and_the_rest_described(command: Command, tmp_path: Path) -> None:
    path = seed("program_FLOAT32", tmp_path)
    (path / sample.WEIGHTS).unlink()
    done = command("conversion.describe", path, "--json")
    assert done.code == 0
    assert any("its weights are missing" in reason for reason in done.json["not_executable"])
    assert sum(part["bytes"] for part in done.json["parts"]) == done.json["size_bytes"]


def test_what_is_no_core_ml_file_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07" + bytes(50))
    done = command("conversion.describe", tmp_path / "x.onnx")
    assert (done.code, done.out) == (2, "")
    assert "an ONNX model" in done.error


def test_an_archive_is_described_as_what_it_holds(tmp_path: Path) -> None:
    path = seed("program_FLOAT16", tmp_path)
    with zipfile.ZipFile(tmp_path / "x.mlpackage.zip", "w") as archive:
        for file in path.rglob("*"):
            archive.write(file, f"x.mlpackage/{file.relative_to(path)}")
    assert not differences(describe(path), describe(tmp_path / "x.mlpackage.zip"))


def test_differences_are_named(command: Command, tmp_path: Path) -> None:
    one = seed("network", tmp_path / "one")
    model = model_class().FromString(one.read_bytes())
    model.description.metadata.author = "Ann"
    layer = next(layer for layer in model.neuralNetworkClassifier.layers if layer.WhichOneof("layer") == "convolution")
    layer.convolution.weights.floatValue[0] += 1
    other = saved(model, tmp_path / "other.mlmodel")
    done = command("conversion.describe", one, "--diff", other, "--json")
    assert done.code == 1
    what = {row["what"]: (row["file"], row["other"]) for row in done.json["differences"]}
    assert what["metadata author"] == ("-", "Ann")
    assert f"layer {layer.name}" in what
    assert {name for name in what if name.startswith("layer ")} <= {
        f"layer {layer.name}",
        "layer description",
        "layer (between them)",
    }
    assert command("conversion.describe", one, "--diff", one).code == 0
    assert "no difference" in command("conversion.describe", one, "--diff", one).out


def test_names_in_a_file_stay_on_their_line(command: Command, tmp_path: Path) -> None:
    path = seed("network", tmp_path)
    model = model_class().FromString(path.read_bytes())
    model.description.metadata.author = "\x1b[31mAnn\nerror: x"
    model.neuralNetworkClassifier.layers[0].name = "[bold]\x1b"
    out = command("conversion.describe", saved(model, path)).out
    assert "\x1b" not in out
    assert "error: x" in out
    assert not any(line.startswith("error") for line in out.splitlines())


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom conversion.describe import main\n"
        "assert main([sys.argv[1]]) == 0\n"
        "heavy = {'keras', 'tensorflow', 'mlflow', 'optuna', 'coremltools', 'scipy.special'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    command = [sys.executable, "-c", code, str(seed("program_palette_4", tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
