"""Files of any interface, executed by feature names, against small formulas written here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from architectures.errors import UsageError
from conversion.runtime import CorruptModel, NotCheckable, load, load_model
from conversion.runtime.learned import coupled
from conversion.runtime.model import Model
from conversion.runtime.schema import model_class
from tests.support.layers import build_network

GENERATOR = np.random.default_rng(0)
EXACT = {"rtol": 1e-6, "atol": 1e-6}


def model_of(spec: Any, tmp_path: Path) -> Model:
    path = tmp_path / "model.mlmodel"
    path.write_bytes(spec.SerializeToString())
    return load_model(path)


def described(spec: Any, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    """Give a specification features: a shape is an array, a text one of the types without parameters."""
    spec.specificationVersion = 4
    for features, wanted in ((spec.description.input, inputs), (spec.description.output, outputs)):
        for name, kind in wanted.items():
            stored = features.add()
            stored.name = name
            if isinstance(kind, str):
                getattr(stored.type, kind).SetInParent()
            else:
                stored.type.multiArrayType.shape.extend(kind)
                stored.type.multiArrayType.dataType = 65600  # DOUBLE
    return spec


def network(
    write: Callable[[Any], None], inputs: dict[str, tuple[int, ...]], outputs: dict[str, Any], *, exact: bool = True
) -> Any:
    builder = NeuralNetworkBuilder(
        [(name, datatypes.Array(*shape)) for name, shape in inputs.items()],
        [(name, shape and datatypes.Array(*shape)) for name, shape in outputs.items()],
        disable_rank5_shape_mapping=exact,
    )
    write(builder)
    return builder.spec


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_arrays_of_every_rank(rank: int, tmp_path: Path) -> None:
    shape = (2, 3, 4, 2, 3)[:rank]
    spec = network(lambda b: b.add_activation("a", "LINEAR", "x", "y", params=[2.0, -1.0]), {"x": shape}, {"y": shape})
    x = GENERATOR.standard_normal(shape)
    model = model_of(spec, tmp_path)
    answer = model.predict({"x": x})["y"]
    assert answer.shape == shape
    np.testing.assert_allclose(answer, 2 * x - 1, **EXACT)
    assert [each.shape for each in (*model.inputs, *model.outputs)] == [shape, shape]


@pytest.mark.parametrize("shape", [(6,), (2, 3, 4)])
def test_arrays_of_the_first_generation_are_channels_height_and_width(shape: tuple[int, ...], tmp_path: Path) -> None:
    """An inner product reads channels, height and width as one vector; the answer's shape is not stated."""
    weights = GENERATOR.standard_normal((5, int(np.prod(shape)))).astype(np.float32)

    def write(b: Any) -> None:
        b.add_inner_product("p", weights, None, weights.shape[1], 5, False, "x", "y")

    spec = network(write, {"x": shape}, {"y": (5,)}, exact=False)
    spec.description.output[0].type.multiArrayType.ClearField("shape")
    x = GENERATOR.standard_normal(shape)
    answer = model_of(spec, tmp_path).predict({"x": x})["y"]
    assert answer.shape == (5, 1, 1)
    np.testing.assert_allclose(answer.ravel(), weights @ x.ravel(), rtol=1e-5, atol=1e-5)


def test_several_inputs_and_outputs_by_name(tmp_path: Path) -> None:
    def write(b: Any) -> None:
        b.add_subtract_broadcastable("s", ["x", "y"], "difference")
        b.add_activation("r", "RELU", "difference", "positive")

    spec = network(write, {"x": (3, 2), "y": (2,)}, {"positive": (3, 2), "difference": (3, 2)})
    x, y = GENERATOR.standard_normal((3, 2)), GENERATOR.standard_normal(2)
    answer = model_of(spec, tmp_path).predict({"y": y, "x": x})
    np.testing.assert_allclose(answer["difference"], x - y, **EXACT)
    np.testing.assert_allclose(answer["positive"], np.maximum(x - y, 0), **EXACT)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_an_image_comes_out_as_pixels(color: str, tmp_path: Path) -> None:
    """Half as bright, and beyond the ends where the file makes it so; red stays red in either order."""

    def write(b: Any) -> None:
        b.add_activation("a", "LINEAR", "image", "out", params=[1.5, -20.0])

    spec = network(write, {"image": (3, 4, 5)}, {"out": (3, 4, 5)})
    spec.neuralNetwork.imageInputShapeMapping = 1
    for feature in (spec.description.input[0], spec.description.output[0]):
        feature.type.imageType.height, feature.type.imageType.width = 4, 5
        feature.type.imageType.colorSpace = ct.proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace.Value(color)
    image = GENERATOR.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    answer = model_of(spec, tmp_path).predict({"image": image})["out"]
    assert answer.dtype == np.uint8
    np.testing.assert_array_equal(answer, np.clip(np.rint(image * 1.5 - 20), 0, 255))


def test_a_regressor_answers_numbers(tmp_path: Path) -> None:
    weights = GENERATOR.standard_normal((1, 4)).astype(np.float32)
    spec = network(lambda b: b.add_inner_product("p", weights, None, 4, 1, False, "x", "y"), {"x": (4,)}, {"y": (1,)})
    regressor = model_class()()
    regressor.specificationVersion = 4
    regressor.description.CopyFrom(spec.description)
    regressor.description.predictedFeatureName = "y"
    regressor.neuralNetworkRegressor.layers.extend(spec.neuralNetwork.layers)
    regressor.neuralNetworkRegressor.arrayInputShapeMapping = 1
    x = GENERATOR.standard_normal(4)
    np.testing.assert_allclose(model_of(regressor, tmp_path).predict({"x": x})["y"], weights @ x, rtol=1e-5)


@pytest.mark.parametrize("labels", [(7, 3, 5), ("crane", "dog", "crane")])
def test_a_classifier_of_arrays(labels: tuple[Any, ...], tmp_path: Path) -> None:
    spec = build_network(lambda b: b.add_softmax_nd("s", "image", "output", 0), outputs=3)
    spec.description.input[0].type.multiArrayType.shape.append(3)
    spec.description.input[0].type.multiArrayType.dataType = 65568
    spec.neuralNetworkClassifier.ClearField("preprocessing")
    spec.neuralNetworkClassifier.arrayInputShapeMapping = 1
    label = next(each for each in spec.description.output if each.name == spec.description.predictedFeatureName)
    if isinstance(labels[0], int):
        spec.neuralNetworkClassifier.int64ClassLabels.vector.extend(labels)
        label.type.int64Type.SetInParent()
    else:
        del spec.neuralNetworkClassifier.stringClassLabels.vector[:]
        spec.neuralNetworkClassifier.stringClassLabels.vector.extend(labels)
    x = np.array([0.5, -1.0, 2.0])
    answer = model_of(spec, tmp_path).predict({"image": x})
    shares = np.exp(x) / np.exp(x).sum()
    assert answer[spec.description.predictedFeatureName] == labels[2]
    found = answer[spec.description.predictedProbabilitiesName]
    assert found == pytest.approx(dict(zip(labels, shares, strict=True)), rel=1e-6)
    with pytest.raises(NotCheckable, match="not an image"):  # to the gate and the data sets it stays what it is
        load(tmp_path / "model.mlmodel")


def program(write: Callable[..., Any], shapes: Sequence[tuple[Any, ...]], tmp_path: Path, **options: Any) -> Model:
    made = mb.program(input_specs=[mb.TensorSpec(shape=shape) for shape in shapes], opset_version=ct.target.iOS16)(
        write
    )
    package = ct.convert(
        made,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
        **options,
    )
    package.save(str(tmp_path / "model.mlpackage"))
    return load_model(tmp_path / "model.mlpackage")


def test_an_ml_program_without_labels(tmp_path: Path) -> None:
    weight = GENERATOR.standard_normal((4, 3)).astype(np.float32)

    def write(x: Any, y: Any) -> Any:
        product = mb.linear(x=x, weight=weight, name="product")
        return product, mb.add(x=product, y=y, name="total")

    model = program(write, [(2, 3), (1, 4)], tmp_path)
    x, y = GENERATOR.standard_normal((2, 3)), GENERATOR.standard_normal((1, 4))
    answer = model.predict({"x": x, "y": y})
    np.testing.assert_allclose(answer["product"], x @ weight.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer["total"], x @ weight.T + y, rtol=1e-5, atol=1e-6)


def test_an_ml_program_of_flexible_size_at_its_default(tmp_path: Path) -> None:
    """The size of what is computed follows from that of the input, also where the program asks for it."""

    def write(x: Any) -> Any:
        halved = mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
        size = mb.slice_by_index(x=mb.shape(x=halved), begin=[2], end=[4])
        flat = mb.reshape(x=halved, shape=mb.concat(values=[size, [3]], axis=0))
        return mb.reduce_sum(x=flat, axes=[0], name="sums")

    size = ct.RangeDim(4, 64, default=6)
    model = program(
        write,
        [(1, 3, ct.converters.mil.mil.get_new_symbol(), ct.converters.mil.mil.get_new_symbol())],
        tmp_path,
        inputs=[ct.TensorType(name="x", shape=(1, 3, size, ct.RangeDim(4, 64, default=8)))],
    )
    assert model.inputs[0].shape == (1, 3, 6, 8)
    x = GENERATOR.standard_normal((1, 3, 6, 8))
    halved = x.reshape(3, 3, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(
        model.predict({"x": x})["sums"], halved.reshape(3, 4, 3).sum(axis=0), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(UsageError, match="another shape"):
        model.predict({"x": x[:, :, :4]})


def stage(kind: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[Any, Any]:
    spec = described(model_class()(), inputs, outputs)
    getattr(spec, kind).SetInParent()
    return spec, getattr(spec, kind)


def test_a_pipeline_of_numbers(tmp_path: Path) -> None:
    """Two numbers and an array side by side, scaled, in a linear classifier."""
    vectorizer, p = stage("featureVectorizer", {"a": "doubleType", "b": "int64Type", "c": (2,)}, {"all": (4,)})
    for name, size in (("a", 1), ("b", 1), ("c", 2)):
        p.inputList.add(inputColumn=name, inputDimensions=size)
    scaler, p = stage("scaler", {"all": (4,)}, {"scaled": (4,)})
    shift, scale = GENERATOR.standard_normal((2, 4))
    p.shiftValue.extend(shift)
    p.scaleValue.extend(scale)
    outputs = {"label": "stringType", "shares": "dictionaryType"}
    linear, p = stage("glmClassifier", {"scaled": (4,)}, outputs)
    weights, offset = GENERATOR.standard_normal((3, 4)), GENERATOR.standard_normal(3)
    for row in weights:
        p.weights.add(value=row)
    p.offset.extend(offset)
    p.stringClassLabels.vector.extend("xyz")
    p.classEncoding = 1  # OneVsRest
    spec, p = stage("pipelineClassifier", {"a": "doubleType", "b": "int64Type", "c": (2,)}, outputs)
    for each in (linear, spec):
        each.description.predictedFeatureName, each.description.predictedProbabilitiesName = "label", "shares"
    p.pipeline.models.extend([vectorizer, scaler, linear])
    model = model_of(spec, tmp_path)
    answer = model.predict({"a": 0.5, "b": -2, "c": [1.0, 3.0]})
    x = (np.array([0.5, -2, 1, 3]) + shift) * scale
    shares = 1 / (1 + np.exp(-(weights @ x + offset)))
    shares /= shares.sum()
    assert answer["label"] == "xyz"[shares.argmax()]
    assert answer["shares"] == pytest.approx(dict(zip("xyz", shares, strict=True)))
    with pytest.raises(UsageError, match="'d'.*a: double, b: int64, c: array 2"):
        model.predict({"d": 1})
    with pytest.raises(UsageError, match="b: int64 is a whole number, not 0.5"):
        model.predict({"a": 0, "b": 0.5, "c": [1, 3]})
    with pytest.raises(UsageError, match="c: array 2 is missing"):
        model.predict({"a": 0, "b": 1})


@pytest.mark.parametrize("rows", [1, 2])
def test_linear_classifiers_with_a_reference(rows: int, tmp_path: Path) -> None:
    spec, p = stage("glmClassifier", {"x": (2,)}, {"label": "int64Type", "shares": "dictionaryType"})
    spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName = "label", "shares"
    weights = GENERATOR.standard_normal((rows, 2))
    for row in weights:
        p.weights.add(value=row)
    p.offset.extend([0.25] * rows)
    p.int64ClassLabels.vector.extend(range(rows + 1))
    x = np.array([1.0, -0.5])
    powers = np.exp([0, *(weights @ x + 0.25)])
    found = model_of(spec, tmp_path).predict({"x": x})["shares"]
    assert found == pytest.approx(dict(enumerate(powers / powers.sum())))


def single_number(kind: str, inputs: dict[str, Any], fill: Callable[[Any], None], tmp_path: Path) -> Model:
    spec, p = stage(kind, inputs, {"y": "doubleType"})
    spec.description.predictedFeatureName = "y"
    fill(p)
    return model_of(spec, tmp_path)


POINTS = GENERATOR.standard_normal((120, 3))
TRUTH = (POINTS[:, 0] * 2 + POINTS[:, 1] ** 2 > 0.5).astype(int) + (POINTS[:, 2] > 0.8)


def vectors_of(p: Any, fitted: Any, *, sparse: bool) -> None:
    """A support vector machine of scikit-learn, which is LIBSVM's, as its message."""
    for vector in fitted.support_vectors_:
        if sparse:
            stored = p.sparseSupportVectors.vectors.add()
            for place, value in enumerate(vector):
                stored.nodes.add(index=place + 1, value=value)
        else:
            p.denseSupportVectors.vectors.add(values=vector)
    if fitted.kernel == "rbf":
        p.kernel.rbfKernel.gamma = fitted._gamma
    elif fitted.kernel == "poly":
        p.kernel.polyKernel.gamma, p.kernel.polyKernel.degree = fitted._gamma, fitted.degree
        p.kernel.polyKernel.c = fitted.coef0
    elif fitted.kernel == "sigmoid":
        p.kernel.sigmoidKernel.gamma, p.kernel.sigmoidKernel.c = fitted._gamma, fitted.coef0
    else:
        p.kernel.linearKernel.SetInParent()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly", "sigmoid"])
def test_support_vectors_are_scikit_learns(kernel: str, sparse: bool, tmp_path: Path) -> None:
    fitted = SVC(kernel=kernel, coef0=0.5).fit(POINTS, TRUTH)
    spec, p = stage("supportVectorClassifier", {"x": (3,)}, {"label": "int64Type"})
    spec.description.predictedFeatureName = "label"
    vectors_of(p, fitted, sparse=sparse)
    p.numberOfSupportVectorsPerClass.extend(fitted.n_support_)
    for row in fitted.dual_coef_:
        p.coefficients.add(alpha=row)
    p.rho.extend(-fitted.intercept_)
    p.int64ClassLabels.vector.extend(fitted.classes_)
    model = model_of(spec, tmp_path)
    found = [model.predict({"x": x})["label"] for x in POINTS]
    assert found == fitted.predict(POINTS).tolist()
    assert len(set(found)) == 3
    regressor = SVR(kernel=kernel, coef0=0.5).fit(POINTS, POINTS[:, 0])

    def fill(p: Any) -> None:
        vectors_of(p, regressor, sparse=sparse)
        p.coefficients.alpha.extend(regressor.dual_coef_[0])
        p.rho = -regressor.intercept_[0]

    answers = [single_number("supportVectorRegressor", {"x": (3,)}, fill, tmp_path).predict({"x": POINTS[5]})["y"]]
    np.testing.assert_allclose(answers, regressor.predict(POINTS[5:6]), rtol=1e-9)


def test_probabilities_between_pairs_are_coupled_as_their_definition_says() -> None:
    """Of consistent pairs they are the probabilities; else they minimise the sum of squares that defines them."""
    truth = np.array([0.5, 0.3, 0.2])
    pairs = list(itertools.combinations(range(3), 2))
    shares = np.array([truth[i] / (truth[i] + truth[j]) for i, j in pairs])
    np.testing.assert_allclose(coupled(shares, pairs, 3), truth, atol=2e-3)

    def misfit(p: np.ndarray) -> float:
        return float(sum(((1 - share) * p[i] - share * p[j]) ** 2 for share, (i, j) in zip(shares, pairs, strict=True)))

    shares = np.array([0.9, 0.2, 0.6])
    found = coupled(shares, pairs, 3)
    assert found.sum() == pytest.approx(1)
    for move in GENERATOR.standard_normal((50, 3)) * 0.05:
        assert misfit(found) <= misfit(found + move - move.mean()) + 1e-4


def tree_of(ensemble: Any, number: int, tree: Any, values: np.ndarray, weight: float = 1) -> None:
    """A tree of scikit-learn as nodes; leaves add `values` (nodes, dimensions)."""
    for node in range(tree.node_count):
        stored = ensemble.nodes.add(treeId=number, nodeId=node)
        if tree.children_left[node] < 0:
            stored.nodeBehavior = 6
            for index, value in enumerate(values[node]):
                stored.evaluationInfo.add(evaluationIndex=index, evaluationValue=value * weight)
            continue
        stored.branchFeatureIndex, stored.branchFeatureValue = tree.feature[node], tree.threshold[node]
        stored.trueChildNodeId, stored.falseChildNodeId = tree.children_left[node], tree.children_right[node]


def test_trees_are_scikit_learns(tmp_path: Path) -> None:
    points = POINTS.astype(np.float32)  # as scikit-learn compares them
    fitted = DecisionTreeClassifier(max_depth=4, random_state=0).fit(points, TRUTH)
    spec, p = stage("treeEnsembleClassifier", {"x": (3,)}, {"label": "int64Type", "shares": "dictionaryType"})
    spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName = "label", "shares"
    p.int64ClassLabels.vector.extend(fitted.classes_)
    p.treeEnsemble.numPredictionDimensions = 3
    tree_of(p.treeEnsemble, 0, fitted.tree_, fitted.tree_.value[:, 0])
    model = model_of(spec, tmp_path)
    for x, expected in zip(points[:20], fitted.predict_proba(points[:20]), strict=True):
        assert model.predict({"x": x})["shares"] == pytest.approx(dict(enumerate(expected)))
    boosted = GradientBoostingRegressor(n_estimators=7, random_state=0).fit(points, POINTS[:, 0] * 3)

    def fill(p: Any) -> None:
        p.treeEnsemble.numPredictionDimensions = 1
        p.treeEnsemble.basePredictionValue.append(float(boosted.init_.constant_[0, 0]))
        for number, each in enumerate(boosted.estimators_[:, 0]):
            tree_of(p.treeEnsemble, number, each.tree_, each.tree_.value[:, 0], boosted.learning_rate)

    regressor = single_number("treeEnsembleRegressor", {"x": (3,)}, fill, tmp_path)
    found = [regressor.predict({"x": x})["y"] for x in points[:20]]
    np.testing.assert_allclose(found, boosted.predict(points[:20]), rtol=1e-9)


def test_what_a_tree_misses_goes_where_it_says(tmp_path: Path) -> None:
    def fill(p: Any) -> None:
        p.treeEnsemble.numPredictionDimensions = 1
        p.treeEnsemble.nodes.add(
            treeId=0,
            nodeId=0,
            nodeBehavior=3,
            branchFeatureValue=1,
            trueChildNodeId=1,
            falseChildNodeId=2,
            missingValueTracksTrueChild=True,
        )
        for node, value in ((1, 10.0), (2, 20.0)):
            stored = p.treeEnsemble.nodes.add(treeId=0, nodeId=node, nodeBehavior=6)
            stored.evaluationInfo.add(evaluationValue=value)

    model = single_number("treeEnsembleRegressor", {"x": "doubleType"}, fill, tmp_path)
    assert [model.predict({"x": x})["y"] for x in (2.0, 1.0, np.nan)] == [10, 20, 10]


def test_numbers_are_prepared(tmp_path: Path) -> None:
    x = np.array([3.0, np.nan, -4.0])
    imputer, p = stage("imputer", {"x": (3,)}, {"y": (3,)})
    p.imputedDoubleArray.vector.extend([7, 0, 9])
    np.testing.assert_array_equal(model_of(imputer, tmp_path).predict({"x": x})["y"], [3, 0, -4])
    for kind, size in ((0, 4), (1, 7), (2, 5)):
        normalizer, p = stage("normalizer", {"x": (3,)}, {"y": (3,)})
        p.normType = kind
        found = model_of(normalizer, tmp_path).predict({"x": np.nan_to_num(x)})["y"]
        np.testing.assert_allclose(found, np.nan_to_num(x) / size)
    extractor, p = stage("arrayFeatureExtractor", {"x": (3,)}, {"y": (2,)})
    p.extractIndex.extend([2, 0])
    np.testing.assert_array_equal(model_of(extractor, tmp_path).predict({"x": x})["y"], [-4, 3])
    encoder, p = stage("oneHotEncoder", {"x": "stringType"}, {"y": (3,)})
    p.stringCategories.vector.extend(["red", "green", "blue"])
    np.testing.assert_array_equal(model_of(encoder, tmp_path).predict({"x": "green"})["y"], [0, 1, 0])
    vectorizer, p = stage("dictVectorizer", {"x": "dictionaryType"}, {"y": (3,)})
    p.stringToIndex.vector.extend("abc")
    found = model_of(vectorizer, tmp_path).predict({"x": {"c": 2.5, "z": 1.0, "a": 4.0}})["y"]
    np.testing.assert_array_equal(found, [4, 0, 2.5])


@pytest.mark.parametrize("per_class", [False, True])
def test_boxes_that_overlap_a_surer_one_go(per_class: bool, tmp_path: Path) -> None:
    """Against the definition: a box stays if no surer one that stays overlaps it (and is of its class)."""
    count, classes = 40, 3
    spec, p = stage(
        "nonMaximumSuppression",
        {"raw": (count, classes), "boxes": (count, 4), "iou": "doubleType"},
        {"sure": (), "kept": ()},
    )
    spec.description.input[2].type.isOptional = True
    p.pickTop.perClass = per_class
    p.iouThreshold, p.confidenceThreshold = 0.3, 0.4
    p.confidenceInputFeatureName, p.coordinatesInputFeatureName = "raw", "boxes"
    p.confidenceOutputFeatureName, p.coordinatesOutputFeatureName = "sure", "kept"
    p.iouThresholdInputFeatureName = "iou"
    confidence = GENERATOR.random((count, classes))
    boxes = np.hstack([GENERATOR.random((count, 2)), GENERATOR.uniform(0.1, 0.5, (count, 2))])

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        sides = [
            min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
            for i in (0, 1)
        ]
        shared = max(0.0, sides[0]) * max(0.0, sides[1])
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    model = model_of(spec, tmp_path)
    for threshold in (0.3, 0.1):
        stay: list[int] = []
        for i in np.argsort(-confidence.max(axis=1)):
            rivals = [j for j in stay if not per_class or confidence[j].argmax() == confidence[i].argmax()]
            if confidence[i].max() >= 0.4 and all(overlap(boxes[i], boxes[j]) <= threshold for j in rivals):
                stay.append(int(i))
        given = {"raw": confidence, "boxes": boxes} | ({} if threshold == 0.3 else {"iou": threshold})
        answer = model.predict(given)
        np.testing.assert_allclose(answer["kept"], boxes[stay])
        np.testing.assert_allclose(answer["sure"], confidence[stay])
        assert 1 < len(stay) < count


def test_what_only_apple_has_is_told_in_one_line(tmp_path: Path) -> None:
    printer, p = stage("visionFeaturePrint", {"image": (1,)}, {"print": (2048,)})
    p.scene.version = 1
    spec, p = stage("pipeline", {"image": (1,)}, {"print": (2048,)})
    p.models.append(printer)
    with pytest.raises(NotCheckable, match="Apple's own visionFeaturePrint.*only they can execute it") as found:
        model_of(spec, tmp_path)
    assert "\n" not in str(found.value)
    with pytest.raises(NotCheckable, match=r"Apple's own visionFeaturePrint.*only they can execute it\.$"):
        load(tmp_path / "model.mlmodel")


def tree_with_a_loop(p: Any) -> None:
    p.treeEnsemble.numPredictionDimensions = 1
    for node in range(3):
        p.treeEnsemble.nodes.add(treeId=0, nodeId=node, trueChildNodeId=(node + 1) % 3, falseChildNodeId=(node + 2) % 3)


def leaf_beyond(p: Any) -> None:
    p.treeEnsemble.numPredictionDimensions = 1
    p.treeEnsemble.nodes.add(treeId=0, nodeId=0, nodeBehavior=6).evaluationInfo.add(evaluationIndex=1)


def feature_beyond(p: Any) -> None:
    p.treeEnsemble.numPredictionDimensions = 1
    p.treeEnsemble.nodes.add(treeId=0, nodeId=0, trueChildNodeId=1, falseChildNodeId=2, branchFeatureIndex=9)
    for node in (1, 2):
        p.treeEnsemble.nodes.add(treeId=0, nodeId=node, nodeBehavior=6)


DAMAGED: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "loop": ("treeEnsembleRegressor", tree_with_a_loop, "do not form a tree"),
    "leaf": ("treeEnsembleRegressor", leaf_beyond, "more than its 1 dimensions"),
    "feature": ("treeEnsembleRegressor", feature_beyond, "the feature 9 of 3"),
    "weights": ("glmRegressor", lambda p: p.weights.add(value=[1, 2]), "3 features, not 2|offsets"),
    "no weights": ("glmRegressor", lambda p: None, "0 rows of weights"),
    "vectors": ("supportVectorRegressor", lambda p: p.denseSupportVectors.SetInParent(), "there are none"),
    "scale": ("scaler", lambda p: p.scaleValue.extend([1, 2]), "2 numbers for 3 features"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_models_that_contradict_themselves(name: str, tmp_path: Path) -> None:
    kind, fill, text = DAMAGED[name]
    with pytest.raises(CorruptModel, match=text):
        single_number(kind, {"x": (3,)}, fill, tmp_path).predict({"x": [1, 2, 3]})


def test_stages_that_nobody_feeds(tmp_path: Path) -> None:
    scaler, _ = stage("scaler", {"other": (3,)}, {"y": (3,)})
    spec, p = stage("pipeline", {"x": (3,)}, {"y": (3,)})
    p.models.append(scaler)
    with pytest.raises(CorruptModel, match="'other', which no stage above writes"):
        model_of(spec, tmp_path).predict({"x": [1, 2, 3]})
