"""Files of other interfaces than a classifier of images, for the fuzzer to start from."""

from __future__ import annotations

from typing import Any

import numpy as np
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

from conversion.runtime.schema import model_class
from tests.conversion.fuzz.sample import Sample

ARRAY_OF_DOUBLES = 65600
GENERATOR = np.random.default_rng(0)


def described(kind: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[Any, Any]:
    """A specification with its features (a shape is an array, a text a type), and the message of its kind."""
    spec = model_class()()
    spec.specificationVersion = 4
    for features, wanted in ((spec.description.input, inputs), (spec.description.output, outputs)):
        for name, what in wanted.items():
            stored = features.add(name=name)
            if isinstance(what, str):
                getattr(stored.type, what).SetInParent()
            else:
                stored.type.multiArrayType.shape.extend(what)
                stored.type.multiArrayType.dataType = ARRAY_OF_DOUBLES
    if "label" in outputs:
        spec.description.predictedFeatureName = "label"
        spec.description.predictedProbabilitiesName = "shares" if "shares" in outputs else ""
    getattr(spec, kind).SetInParent()
    return spec, getattr(spec, kind)


LABELLED = {"label": "int64Type", "shares": "dictionaryType"}


def _linear() -> Any:
    spec, p = described("glmClassifier", {"scaled": (4,)}, LABELLED)
    for row in GENERATOR.standard_normal((3, 4)):
        p.weights.add(value=row)
    p.offset.extend([0.1, 0.2, 0.3])
    p.int64ClassLabels.vector.extend(range(3))
    p.classEncoding = 1
    return spec


def _vectors(*, sparse: bool) -> Any:
    spec, p = described("supportVectorClassifier", {"scaled": (4,)}, LABELLED)
    vectors = GENERATOR.standard_normal((6, 4))
    for vector in vectors:
        if sparse:
            stored = p.sparseSupportVectors.vectors.add()
            for place, value in enumerate(vector):
                stored.nodes.add(index=place + 1, value=value)
        else:
            p.denseSupportVectors.vectors.add(values=vector)
    p.kernel.rbfKernel.gamma = 0.5
    p.numberOfSupportVectorsPerClass.extend([2, 2, 2])
    for row in GENERATOR.standard_normal((2, 6)):
        p.coefficients.add(alpha=row)
    for field in (p.rho, p.probA, p.probB):
        field.extend(GENERATOR.standard_normal(3))
    p.int64ClassLabels.vector.extend(range(3))
    return spec


def _trees(kind: str) -> Any:
    outputs = LABELLED if "Classifier" in kind else {"y": "doubleType"}
    spec, p = described(kind, {"scaled": (4,)}, outputs)
    p.treeEnsemble.numPredictionDimensions = 3 if "Classifier" in kind else 1
    for tree in range(2):
        for node, (true, false) in enumerate(((1, 2), (3, 4))):
            p.treeEnsemble.nodes.add(
                treeId=tree, nodeId=node, branchFeatureIndex=node, trueChildNodeId=true, falseChildNodeId=false
            )
        for node in (2, 3, 4):
            leaf = p.treeEnsemble.nodes.add(treeId=tree, nodeId=node, nodeBehavior=6)
            leaf.evaluationInfo.add(evaluationValue=float(node))
    if "Classifier" in kind:
        p.int64ClassLabels.vector.extend(range(3))
        p.postEvaluationTransform = 1
    return spec


def _pipeline(last: Any) -> Any:
    """Two numbers and an array side by side, filled in, scaled, normalised, and what comes last."""
    given = {"a": "doubleType", "b": "int64Type", "c": (2,)}
    vectorizer, p = described("featureVectorizer", given, {"all": (4,)})
    for name, size in (("a", 1), ("b", 1), ("c", 2)):
        p.inputList.add(inputColumn=name, inputDimensions=size)
    imputer, p = described("imputer", {"all": (4,)}, {"whole": (4,)})
    p.imputedDoubleArray.vector.extend([1, 2, 3, 4])
    normalizer, p = described("normalizer", {"whole": (4,)}, {"normal": (4,)})
    p.normType = 2
    extractor, p = described("arrayFeatureExtractor", {"normal": (4,)}, {"turned": (4,)})
    p.extractIndex.extend([3, 2, 1, 0])
    scaler, p = described("scaler", {"turned": (4,)}, {"scaled": (4,)})
    p.shiftValue.extend([1, 2, 3, 4])
    p.scaleValue.append(0.5)
    outputs = {each.name: each.type.WhichOneof("Type") for each in last.description.output}
    kind = "pipelineClassifier" if "label" in outputs else "pipelineRegressor"
    spec, p = described(kind, given, outputs)
    p.pipeline.models.extend([vectorizer, imputer, normalizer, extractor, scaler, last])
    return spec


def _boxes() -> Any:
    spec, p = described(
        "nonMaximumSuppression", {"raw": (5, 2), "boxes": (5, 4), "iou": "doubleType"}, {"sure": (), "kept": ()}
    )
    spec.description.input[2].type.isOptional = True
    p.pickTop.perClass = True
    p.iouThreshold, p.confidenceThreshold = 0.3, 0.0
    p.confidenceInputFeatureName, p.coordinatesInputFeatureName = "raw", "boxes"
    p.confidenceOutputFeatureName, p.coordinatesOutputFeatureName = "sure", "kept"
    p.iouThresholdInputFeatureName = "iou"
    return spec


def _words() -> Any:
    encoder, p = described("oneHotEncoder", {"word": "stringType"}, {"hot": (2,)})
    p.stringCategories.vector.extend(["a", "b"])
    counter, p = described("dictVectorizer", {"words": "dictionaryType"}, {"counts": (2,)})
    p.stringToIndex.vector.extend(["a", "b"])
    spec, p = described("pipeline", {"word": "stringType", "words": "dictionaryType"}, {"hot": (2,), "counts": (2,)})
    p.models.extend([encoder, counter])
    return spec


def _network(*, exact: bool) -> Any:
    """Two arrays in, an array and an image out."""
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(3, 4, 5)), ("y", datatypes.Array(3, 4, 5))],
        [("sum", datatypes.Array(3, 4, 5)), ("small", datatypes.Array(3))],
        disable_rank5_shape_mapping=exact,
    )
    builder.add_elementwise("add", ["x", "y"], "sum", "ADD")
    if exact:
        builder.add_reduce_mean("mean", "sum", "small", axes=[-1, -2], keepdims=False)
    else:
        builder.add_pooling("mean", 1, 1, 1, 1, "AVERAGE", "VALID", "sum", "small", is_global=True)
    image = builder.spec.description.output[0].type.imageType
    image.height, image.width, image.colorSpace = 4, 5, 20
    return builder.spec


def samples() -> dict[str, Sample]:
    """Small files of every kind that `load_model` executes."""
    specs = {
        "arrays": _network(exact=True),
        "arrays_first": _network(exact=False),
        "boxes": _boxes(),
        "pipeline_linear": _pipeline(_linear()),
        "pipeline_trees": _pipeline(_trees("treeEnsembleClassifier")),
        "pipeline_vectors": _pipeline(_vectors(sparse=False)),
        "trees": _trees("treeEnsembleRegressor"),
        "vectors": _vectors(sparse=True),
        "words": _words(),
    }
    return {name: Sample(spec.SerializeToString(deterministic=True)) for name, spec in specs.items()}
