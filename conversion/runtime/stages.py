"""Models of every kind as stages: functions from batches of named features to batches of named features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.runtime import learned
from conversion.runtime.boxes import suppressed
from conversion.runtime.features import Batch, Feature, Scores, feature
from conversion.runtime.interface import NotCheckable
from conversion.runtime.limits import Unsupported
from conversion.runtime.network import blaming
from conversion.runtime.network_stages import Execute, Labels, ml_program, neural_network
from conversion.runtime.package import Package

MAX_STAGES = 64  # of a pipeline, including nested ones


@dataclass(frozen=True)
class Stage:
    """A model as a function."""

    kind: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    run: Execute


def stage(model: Any, package: Package | None, *, source: str, depth: int = 0) -> Stage:
    """Compile a `Model` message of any supported kind.

    Raises:
        CorruptModel: if it contradicts itself.
        NotCheckable: if it has anything unknown.
    """
    kind, description = model.WhichOneof("Type"), model.description
    inputs = tuple(feature(each, source) for each in description.input)
    outputs = tuple(feature(each, source) for each in description.output)
    title = f"model {kind}"
    with blaming(source, title):
        if len({each.name for each in inputs}) < len(inputs):
            raise ValueError("two of its inputs have the same name")
        if kind in PIPELINES:
            stages = _stages(PIPELINES[kind](model), package, source=source, depth=depth)
            run = _pipeline(stages, outputs)
        elif kind in NETWORKS:
            run = neural_network(model, inputs, outputs, source=source)
        elif kind == "mlProgram":
            run = ml_program(model, package, inputs, outputs, source=source)
        elif kind in UNKNOWN:
            raise NotCheckable(f"{source}: {UNKNOWN[kind]}")
        elif kind in BUILDERS:
            run = BUILDERS[kind](model, inputs, outputs)
        else:
            raise Unsupported("it is not supported here")

    def blamed(values: Mapping[str, Batch]) -> dict[str, Batch]:
        with blaming(source, title), np.errstate(all="ignore"):
            return run(values)

    return Stage(kind, inputs, outputs, blamed)


def _stages(models: Sequence[Any], package: Package | None, *, source: str, depth: int) -> list[Stage]:
    if not len(models) or depth + len(models) > MAX_STAGES:
        raise Unsupported(f"it has {len(models)} stages; 1 to {MAX_STAGES} are known")
    return [stage(model, package, source=source, depth=depth + len(models)) for model in models]


def unknown(model: Any) -> str | None:
    """Return why only Apple's systems, or an app, can run a model or one of its stages; None if that is not so."""
    kind = model.WhichOneof("Type")
    if kind in PIPELINES:
        return next((reason for inner in PIPELINES[kind](model) if (reason := unknown(inner))), None)
    return UNKNOWN.get(kind)


def _pipeline(stages: Sequence[Stage], outputs: Sequence[Feature]) -> Execute:
    def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
        known = dict(values)
        for each in stages:
            missing = [wanted.name for wanted in each.inputs if wanted.name not in known and not wanted.optional]
            if missing:
                raise ValueError(f"its stage {each.kind} reads {missing[0]!r}, which no stage above writes")
            known |= each.run({wanted.name: known[wanted.name] for wanted in each.inputs if wanted.name in known})
        for wanted in outputs:
            if wanted.name not in known:
                raise ValueError(f"none of its stages writes {wanted.name!r}")
        return {wanted.name: known[wanted.name] for wanted in outputs}

    return run


def _matrix(values: Mapping[str, Batch], inputs: Sequence[Feature]) -> np.ndarray:
    """Join all inputs in order to features (N, D) in float64."""
    columns = []
    for each in inputs:
        batch = values.get(each.name)
        if not isinstance(batch, np.ndarray) or batch.dtype.kind not in "fiub":
            raise ValueError(f"its input {each.name!r} is not numeric")
        columns.append(batch.reshape(len(batch), -1).astype(np.float64))
    if not columns:
        raise ValueError("it has no input")
    return np.concatenate(columns, axis=1)


def _numeric(build: Callable[[Any], Callable[[np.ndarray], np.ndarray]]) -> Callable[..., Execute]:
    """Build a stage whose only output is numbers, computed from all inputs joined."""

    def made(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
        compute = build(getattr(model, model.WhichOneof("Type")))
        if len(outputs) != 1:
            raise ValueError(f"it has {len(outputs)} outputs, not 1")
        return lambda values: {outputs[0].name: compute(_matrix(values, inputs))}

    return made


def _classifier(build: Callable[[Any, int], Callable[[np.ndarray], Any]]) -> Callable[..., Execute]:
    """Build a stage whose outputs are a label and its probabilities by label."""

    def made(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
        p = getattr(model, model.WhichOneof("Type"))
        labels = Labels.of(p, model.description, outputs)
        compute = build(p, len(labels.values))

        def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
            answer = compute(_matrix(values, inputs))
            indices, scores = answer if isinstance(answer, tuple) else (answer.argmax(axis=1), answer)
            return labels.answers(indices, scores)

        return run

    return made


def _tree_classifier(p: Any, count: int) -> Callable[[np.ndarray], np.ndarray]:
    sums, transform = learned.trees(p.treeEnsemble), learned.tree_transform(p.postEvaluationTransform)

    def run(x: np.ndarray) -> np.ndarray:
        out = transform(sums(x))
        if out.shape[1] == 1 and count == 2:  # of the second class
            out = np.hstack([1 - out, out])
        if out.shape[1] != count:
            raise ValueError(f"it computes {out.shape[1]} scores for {count} labels")
        return out

    return run


def _tree_regressor(p: Any) -> Callable[[np.ndarray], np.ndarray]:
    sums, transform = learned.trees(p.treeEnsemble), learned.tree_transform(p.postEvaluationTransform)
    return lambda x: transform(sums(x))


def _vectorizer(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
    """Join features to a vector, each with the length stated in the file."""
    columns = [(each.inputColumn, each.inputDimensions) for each in model.featureVectorizer.inputList]
    kinds = {each.name: each for each in inputs}
    if len(outputs) != 1 or not columns or any(name not in kinds for name, _ in columns):
        raise ValueError("it has no inputs, others than it announces, or not one output")

    def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
        parts = []
        for name, size in columns:
            part = _matrix(values, [kinds[name]])
            learned.width(part, size)
            parts.append(part)
        return {outputs[0].name: np.concatenate(parts, axis=1)}

    return run


def _dictionary_vectorizer(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
    """Return the values of a dictionary in the order of its known keys; 0 for missing ones."""
    p = model.dictVectorizer
    kind = p.WhichOneof("Map")
    keys = list(getattr(p, kind).vector) if kind else []
    if len(inputs) != 1 or len(outputs) != 1 or not keys:
        raise ValueError("it has no keys, or not one input and one output")

    def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
        given = values[inputs[0].name]
        if not isinstance(given, Scores):
            raise ValueError(f"its input {inputs[0].name!r} is not a dictionary")
        places = {label: place for place, label in enumerate(given.labels)}
        columns = [given.values[:, places[key]] if key in places else np.zeros(len(given.values)) for key in keys]
        return {outputs[0].name: np.stack(columns, axis=1).astype(np.float64)}

    return run


def _one_hot(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
    p = model.oneHotEncoder
    kind = p.WhichOneof("CategoryType")
    known = list(getattr(p, kind).vector) if kind else []
    if len(inputs) != 1 or len(outputs) != 1 or not known or p.handleUnknown not in (0, 1):
        raise ValueError("it has no categories, or not one input and one output")

    def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
        given = values[inputs[0].name]
        if not isinstance(given, np.ndarray):
            raise ValueError(f"its input {inputs[0].name!r} is a dictionary")
        flat = given.reshape(len(given))
        hot = np.array([[value == category for category in known] for value in flat.tolist()], np.float64)
        if p.handleUnknown == 0 and not hot.any(axis=1).all():  # ErrorOnUnknown
            raise Unsupported("its input is none of its categories")
        return {outputs[0].name: hot}

    return run


def _identity(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
    if len(inputs) != len(outputs):
        raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
    pairs = list(zip(inputs, outputs, strict=True))
    return lambda values: {target.name: values[given.name] for given, target in pairs}


def _suppression(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature]) -> Execute:
    """Remove boxes of a detector that overlap a more confident one; thresholds from inputs replace the file's."""
    p = model.nonMaximumSuppression
    per_class = p.WhichOneof("SuppressionMethod") != "pickTop" or p.pickTop.perClass

    def number(values: Mapping[str, Batch], name: str, default: float) -> float:
        batch = values.get(name)
        return float(batch.reshape(-1)[0]) if isinstance(batch, np.ndarray) else default

    def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
        confidence, boxes = (
            np.asarray(values[name], np.float64) if name in values else np.zeros(0)
            for name in (p.confidenceInputFeatureName, p.coordinatesInputFeatureName)
        )
        if len(confidence) != 1 or len(boxes) != 1:
            raise Unsupported(f"it is given {len(confidence)} images at once; 1 is known")
        if confidence.ndim < 3 or boxes.ndim < 3 or boxes.shape[-1] != 4 or confidence.shape[-2] != boxes.shape[-2]:
            raise ValueError(f"it reads confidence {confidence.shape[1:]} of boxes {boxes.shape[1:]}")
        confidence, boxes = (x.reshape(-1, x.shape[-1]) for x in (confidence, boxes))
        if len(confidence) != len(boxes):
            raise ValueError(f"it reads {len(confidence)} confidences of {len(boxes)} boxes")
        sure, kept = suppressed(
            confidence,
            boxes,
            iou=number(values, p.iouThresholdInputFeatureName, p.iouThreshold),
            least=number(values, p.confidenceThresholdInputFeatureName, p.confidenceThreshold),
            per_class=per_class,
        )
        return {p.confidenceOutputFeatureName: sure[None], p.coordinatesOutputFeatureName: kept[None]}

    return run


PIPELINES: dict[str, Callable[[Any], Sequence[Any]]] = {
    "pipeline": lambda model: model.pipeline.models,
    "pipelineClassifier": lambda model: model.pipelineClassifier.pipeline.models,
    "pipelineRegressor": lambda model: model.pipelineRegressor.pipeline.models,
}
NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
BUILDERS: dict[str, Callable[..., Execute]] = {
    "arrayFeatureExtractor": _numeric(learned.picked),
    "dictVectorizer": _dictionary_vectorizer,
    "featureVectorizer": _vectorizer,
    "glmClassifier": _classifier(learned.glm_classifier),
    "glmRegressor": _numeric(learned.glm_regressor),
    "identity": _identity,
    "imputer": _numeric(learned.imputed),
    "nonMaximumSuppression": _suppression,
    "normalizer": _numeric(learned.normalized),
    "oneHotEncoder": _one_hot,
    "scaler": _numeric(learned.scaled),
    "supportVectorClassifier": _classifier(learned.svm_classifier),
    "supportVectorRegressor": _numeric(learned.svm_regressor),
    "treeEnsembleClassifier": _classifier(_tree_classifier),
    "treeEnsembleRegressor": _numeric(_tree_regressor),
}
EXECUTED = frozenset({*PIPELINES, *NETWORKS, *BUILDERS, "mlProgram"})
APPLES = "uses Apple's own {}, whose weights are in no file but in Apple's systems: only they can execute it."
UNKNOWN = {
    "audioFeaturePrint": APPLES.format("audioFeaturePrint"),
    "customModel": "is a custom model, whose code is in the app that it was made for.",
    "gazetteer": APPLES.format("gazetteer"),
    "soundAnalysisPreprocessing": APPLES.format("soundAnalysisPreprocessing"),
    "textClassifier": APPLES.format("textClassifier"),
    "visionFeaturePrint": APPLES.format("visionFeaturePrint"),
    "wordEmbedding": APPLES.format("wordEmbedding"),
    "wordTagger": APPLES.format("wordTagger"),
}
