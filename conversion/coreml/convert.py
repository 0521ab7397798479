"""Convert a trained classifier to a Core ML file with the project's names, labels and metadata."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from architectures.errors import ProjectError
from architectures.garbage import frozen_objects
from architectures.registry import Architecture
from architectures.scratch import scratch_folder
from conversion import runtime
from conversion.coreml.compress import compress_network, compress_program
from conversion.coreml.facts import FileFacts
from conversion.coreml.failing_layer import layer_behind
from conversion.coreml.file import CoreMLFile, mlmodel, mlpackage
from conversion.coreml.formats import Compression, Format, check_available
from conversion.coreml.naming import INPUT_NAME, OUTPUT_NAME, name_features
from conversion.coreml.writing import write
from conversion.runtime.interface import ARRAY, COLOR_OF_CHANNELS, PIXELS, PIXELS_KEY
from conversion.verification.threshold import Measured
from experiments.classifier import PIXEL_SCALE, as_classifier, network_of

if TYPE_CHECKING:
    import keras

PREVIEW_KEY = "com.apple.coreml.model.preview.type"  # selects Xcode's preview of the file
VERSION_LENGTH = 8  # characters of the run id used as the file's version


@cache
def coremltools() -> ModuleType:
    """Import coremltools with warnings off, a missing operation added, and a pass that changes answers disabled.

    Programs are checked once after all passes.
    """
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # it warns of every untested library version
    import coremltools
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.tensorflow.tf_op_registry import register_tf_op
    from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    # In Keras' graph, batch normalization is a scale and a shift. coremltools 9 fuses these into a normalization of
    # variance 1 and adds its default epsilon of 1e-5: answers of a small network were 4e-5 off, now 7e-7.
    PASS_REGISTRY.passes["common::fuse_elementwise_to_batchnorm"].apply = lambda _pass, _program: None

    @register_tf_op(strict=False)  # does not replace the operation of a later version
    def Erfc(context: Any, node: Any) -> None:  # of an exact GELU
        erf = Builder.erf(x=context[node.inputs[0]])
        context.add(node.name, Builder.sub(x=1.0, y=erf, name=node.name))

    apply_pipeline = PassPipelineManager.apply_pipeline

    def checked_once(program: Any, pipeline: Any) -> None:
        """Apply passes, and check the program once: checks after each of a hundred passes take a third longer."""
        program.validate = lambda **_: None
        try:
            apply_pipeline(program, pipeline)
        finally:
            del program.validate
        program.validate()

    PassPipelineManager.apply_pipeline = staticmethod(checked_once)
    return coremltools


class Converter:
    """The conversions of one classifier: it is traced once, and converted once for each format and precision.

    Args:
        classifier: a model made by `experiments.classifier.build_classifier`, in float32.
        facts: labels in the order of the model's outputs, and metadata.

    Raises:
        ProjectError: if the labels do not fit the output.
    """

    def __init__(self, classifier: keras.Model, facts: FileFacts) -> None:
        self._network = network_of(classifier)
        self._color = COLOR_OF_CHANNELS.get(self._network.input_shape[3], ARRAY)
        # Core ML scales an image before the network; an array's scale is the network's first layer.
        self._traced = classifier if self._color == ARRAY else self._network
        self._facts = facts
        self._executables: dict[tuple[Format, Compression], runtime.Executable] = {}
        if len(facts.class_names) != self._network.output_shape[1]:  # coremltools would accept it silently
            raise ProjectError(f"{len(facts.class_names)} labels for {self._network.output_shape[1]} outputs.")

    def file(
        self, *, format: Format = "mlmodel", compression: Compression = "none", measured: Measured | None = None
    ) -> CoreMLFile:
        """Convert to a file of a format and a compression.

        Args:
            measured: figures for the file's metadata, in place of those in the facts.

        Returns:
            A file whose content is the same for the same weights, facts, library versions and day.

        Raises:
            UsageError: if the format has no such compression.
            ProjectError: if coremltools cannot convert one of the model's operations; the message names the layer.
        """
        check_available(format, compression)
        if format == "mlmodel":
            spec = self._neuralnetwork.get_spec()
            compress_network(spec, compression)
            weights = {}
        else:
            # All compressed packages start from half precision, in which their tables and scales are smaller.
            model = self._program32 if compression == "none" else self._program16
            model = _owned(compress_program(model, compression))
            spec = model.get_spec()
            weights = {file.name: file.read_bytes() for file in Path(model.weights_dir).iterdir()}
        name_features(spec)
        facts = self._facts
        if measured:
            facts = replace(facts, val_accuracy=measured.val_accuracy, threshold=measured.threshold)
        _describe(spec, facts, compression)
        content = spec.SerializeToString(deterministic=True)
        return mlmodel(content) if format == "mlmodel" else mlpackage(content, weights)

    def executable(self, format: Format, compression: Compression = "none") -> runtime.Executable:
        """Return the file of a format and a compression, loaded by our executor; cached.

        Raises:
            ProjectError: as `file` does, or if the file cannot be executed here.
        """
        wanted = (format, compression)
        if wanted not in self._executables:
            file = self.file(format=format, compression=compression)
            with scratch_folder() as folder:
                path = folder / f"model{file.suffix}"
                write(file, path)
                self._executables[wanted] = runtime.load(path)
        return self._executables[wanted]

    @cached_property
    def _neuralnetwork(self) -> Any:
        return self._convert(convert_to="neuralnetwork")

    @cached_property
    def _program32(self) -> Any:
        return self._convert(convert_to="mlprogram", compute_precision=coremltools().precision.FLOAT32)

    @cached_property
    def _program16(self) -> Any:
        precision = coremltools().precision.FLOAT16
        if self._color == ARRAY:
            precision = coremltools().transform.FP16ComputePrecision(op_selector=lambda one: not _scales(one))
        return self._convert(convert_to="mlprogram", compute_precision=precision)

    @cached_property
    def _forward(self) -> Any:
        """Return the network as one concrete function: coremltools 9 fails on a Keras 3 model and on its SavedModel."""
        import tensorflow as tf

        spec = tf.TensorSpec((1, *self._network.input_shape[1:]), tf.float32, name=INPUT_NAME)
        forward = tf.function(lambda image: self._traced(image, training=False))
        eagerly = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)  # otherwise Keras puts grouped convolutions into nested functions
        try:
            return forward.get_concrete_function(spec)
        finally:
            tf.config.run_functions_eagerly(eagerly)

    def _convert(self, **options: Any) -> Any:
        ct = coremltools()
        shape = (1, *self._network.input_shape[1:])
        if self._color == ARRAY:
            given = ct.TensorType(name=INPUT_NAME, shape=shape)
        else:
            layout = ct.colorlayout[self._color]
            given = ct.ImageType(name=INPUT_NAME, shape=shape, scale=PIXEL_SCALE, color_layout=layout)
        try:
            with frozen_objects():  # coremltools runs garbage collection three times, longer than the conversion
                model = ct.convert(
                    [self._forward],
                    source="tensorflow",
                    inputs=[given],
                    classifier_config=ct.ClassifierConfig(list(self._facts.class_names)),
                    skip_model_load=True,
                    **options,
                )
            return _owned(model)
        except Exception as error:
            layer = layer_behind(error, self._network)
            where = f"{self._facts.architecture}, its layer {layer}" if layer else self._facts.architecture
            text = " ".join(str(error).split())[:300]
            raise ProjectError(f"coremltools cannot convert {where}: {text}") from error


def _scales(operation: Any) -> bool:
    """Return whether an operation scales an array of pixels; it must stay in float32, as Core ML scales images."""
    return operation.op_type == "mul" and INPUT_NAME in (operation.x.name, operation.y.name)


def _owned(model: Any) -> Any:
    """Tie the temporary package to a coremltools model's lifetime; coremltools would keep it until the process ends."""
    if model.package_path:
        weakref.finalize(model, shutil.rmtree, model.package_path, ignore_errors=True)
    return model


def convert(
    classifier: keras.Model, facts: FileFacts, *, format: Format = "mlmodel", compression: Compression = "none"
) -> CoreMLFile:
    """Convert to one file; arguments, result and errors as for `Converter` and its `file`.

    >>> from dataclasses import replace
    >>> from architectures import build
    >>> classifier = as_classifier(build("malireddi", (28, 28, 1), 2, filters=4))
    >>> facts = FileFacts(("cat", "dog"), "pets", "0" * 64, "malireddi", "0" * 32, "", "unknown", 0.9)
    >>> file = convert(classifier, facts, compression="float16")
    >>> file.format, file.suffix, file.size_bytes < convert(classifier, facts).size_bytes
    ('mlmodel', '.mlmodel', True)
    >>> convert(classifier, replace(facts, class_names=("cat",)))
    Traceback (most recent call last):
    architectures.errors.ProjectError: 1 labels for 2 outputs.
    """
    return Converter(classifier, facts).file(format=format, compression=compression)


def _describe(spec: Any, facts: FileFacts, compression: Compression) -> None:
    """Write descriptions and metadata into the `Model` message."""
    description = spec.description
    stored = description.input[0].type
    is_array, image = stored.WhichOneof("Type") == "multiArrayType", stored.imageType
    if is_array:
        _, height, width, channels = stored.multiArrayType.shape
        size, kind = f"{width}x{height}", f"{channels}-channel"
        told = f"An image of {size} pixels and {channels} channels as an array: {PIXELS}"
    else:
        size = f"{image.width}x{image.height}"
        kind, article = ("grayscale", "A") if image.colorSpace == image.GRAYSCALE else ("RGB", "An")
        told = f"{article} {kind} image of {size} pixels"
    description.input[0].shortDescription = f"{told}, prepared as {facts.dataset} is"
    for output in description.output:
        output.shortDescription = (
            "The probability of each class" if output.name == OUTPUT_NAME else "The most probable class"
        )
    metadata = description.metadata
    metadata.author = facts.author
    metadata.license = facts.license
    metadata.shortDescription = (
        f"Classifies {size} {kind} images of {facts.dataset} into {len(facts.class_names)} classes "
        f"with the network {facts.architecture}"
    )
    metadata.versionString = facts.run_id[:VERSION_LENGTH]
    of_input = {PIXELS_KEY: PIXELS} if is_array else {PREVIEW_KEY: "imageClassifier"}
    for key, value in (facts.user_defined() | of_input | {"compression": compression}).items():
        metadata.userDefined[key] = value


def coreml_bytes(
    classifier: keras.Model, facts: FileFacts, *, format: Format = "mlmodel", compression: Compression = "none"
) -> int:
    """Return the exact size of the file that `convert` gives for this network after training; changes its weights."""
    randomize_trained(classifier)
    return convert(classifier, facts, format=format, compression=compression).size_bytes


def randomize_trained(classifier: keras.Model) -> None:
    """Replace all values that training changes by noise, because coremltools omits biases that are still zero.

    Frozen weights keep their values, as in training.
    """
    import numpy as np

    noise = np.random.default_rng(0)

    def randomize(weights: Iterable[keras.Variable]) -> None:
        for weight in weights:
            weight.assign(noise.random(weight.shape, np.float32) / 2 + 0.5)

    randomize(classifier.trainable_weights)
    # Averages of a normalisation change too, unless it is frozen, and so may the state of other layers: one step shows.
    before = [weight.numpy() for weight in classifier.non_trainable_weights]
    if before:
        classifier(noise.uniform(0, 255, (2, *classifier.input_shape[1:])).astype(np.float32), training=True)
    randomize(
        weight
        for weight, value in zip(classifier.non_trainable_weights, before, strict=True)
        if not np.array_equal(weight.numpy(), value)
    )


def published_coreml_bytes(
    architecture: Architecture, input_shape: tuple[int, int, int], num_classes: int, filters: int | None
) -> int:
    """Return the file size of a run without a study, on data without a name, for the table of architectures."""
    classifier = as_classifier(architecture.build(input_shape, num_classes, filters=filters))
    names = tuple(map(str, range(num_classes)))
    facts = FileFacts(names, "", "0" * 64, architecture.name, "0" * 32, "", "0" * 40, 0.0)
    return coreml_bytes(classifier, facts)
