"""Preparation of a sweep or trial: the data set, batch sizes that suit it, architectures that fit it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from architectures import load_plugin
from architectures.errors import UsageError
from experiments import datasets, teacher
from experiments.datasets.summary import dataset_summary
from experiments.recipe import TEACHER
from experiments.tracking import Tracker
from experiments.training import distillation
from experiments.training.memory import BATCH_BYTES
from experiments.training.registered import taken_by
from search.config import ON, SweepConfig
from search.engines.messages import KnownArchitecture, Ready
from search.space import fitting_batch_sizes
from search.trials.config import TrialConfig


def load_dataset(name: str, plugins: tuple[str, ...]) -> datasets.Dataset:
    """Load a data set, importing plugins only if one of them must register it: they may import Keras.

    Raises:
        UsageError: for an unknown name.
    """
    if not datasets.is_known(name):
        for plugin in plugins:
            load_plugin(plugin)
    return datasets.load(name)


def prepare_dataset(
    config: SweepConfig | TrialConfig, tracker: Tracker, say: Callable[[str], None]
) -> datasets.Dataset:
    """Load the data set, make the model of a teacher available, and print notes on the data.

    Raises:
        UsageError: for an unknown data set, or a teacher that was trained on other data.
    """
    dataset = load_dataset(config.dataset, config.plugins)
    if config.teacher:
        teacher.check(tracker, config.teacher, dataset)
        teacher.provide(tracker, config.teacher)
    for line in dataset_summary(dataset):
        say(line)
    return dataset


def usable_batch_sizes(
    sizes: tuple[int, ...], dataset: datasets.Dataset, *, asked: bool, say: Callable[[str], None]
) -> tuple[int, ...]:
    """Return the batch sizes that were `asked` for, else those that suit the data; `say` reports a change.

    Raises:
        UsageError: if a batch size was asked for and is larger than the training split.
    """
    images = len(dataset.train)
    if asked:
        if max(sizes) > images:
            raise UsageError(
                f"Batch size {max(sizes)} exceeds the {images} training images of {dataset.name}: use a smaller one "
                f"with --batch-size."
            )
        return sizes
    fitting = fitting_batch_sizes(sizes, images)
    if fitting != sizes:
        listed, left = (", ".join(map(str, some)) for some in (fitting, sizes))
        say(f"{dataset.name} has {images} training images: batch size {listed} in place of {left}")
    return fitting


def within_memory(
    sizes: tuple[int, ...], architectures: Sequence[KnownArchitecture], *, say: Callable[[str], None]
) -> tuple[int, ...]:
    """Return the batch sizes that fit into memory, else the largest power of two that does.

    >>> large = KnownArchitecture("wide", 32, 0.0, None, image_bytes=100 * 2**20)
    >>> within_memory((64, 128, 256), [large], say=print)
    training holds 100 MiB for each image (wide): batch size 8 in place of 64, 128, 256
    (8,)
    >>> within_memory((64, 128, 256), [KnownArchitecture("small", 32, 0.0, None, image_bytes=5 * 2**20)], say=print)
    training holds 5 MiB for each image (small): batch size 64, 128 in place of 64, 128, 256
    (64, 128)
    """
    hungriest = max(architectures, key=lambda known: known.image_bytes)
    most = max(1, BATCH_BYTES // max(hungriest.image_bytes, 1))
    fitting = tuple(size for size in sizes if size <= most) or (2 ** (most.bit_length() - 1),)
    if fitting != sizes:
        listed, left = (", ".join(map(str, some)) for some in (fitting, sizes))
        held = f"{hungriest.image_bytes / 2**20:.0f} MiB for each image ({hungriest.name})"
        say(f"training holds {held}: batch size {listed} in place of {left}")
    return fitting


def of_builders(asked: TrialConfig | SweepConfig, ready: Ready) -> dict[str, float]:
    """Return the defaults for hyperparameters of the optimizer, the loss and distillation that were not given.

    Raises:
        UsageError: if one was asked for that they do not take, or that needs a teacher.
    """
    found: dict[str, float] = {}
    for takes in ready.takes:
        found |= takes.resolved({name: getattr(asked, name) for name in taken_by(takes.kind)})
    return found | distillation.resolved(asked.teacher, {name: getattr(asked, name) for name in taken_by(TEACHER)})


def with_builders(config: SweepConfig, ready: Ready) -> SweepConfig:
    """Return a sweep with the hyperparameters that its builders and distillation add, which its study records.

    Raises as `of_builders`.
    """
    own = {name: (value, value) for name, value in of_builders(config, ready).items() if value}
    return replace(config, learning_rate_factor=learning_rate_factor(ready), **own)  # type: ignore[arg-type]


def learning_rate_factor(ready: Ready) -> float:
    """Return the optimizer's usual learning rate as a multiple of Adam's."""
    return math.prod(takes.learning_rate_factor for takes in ready.takes)


def resolve_augmentation(augment: str, dataset: datasets.Dataset) -> str:
    """Return the augmentation that `on` stands for: `photo` for colour images, else `digits`."""
    if augment != ON:
        return augment
    return "photo" if dataset.input_shape[2] == 3 else "digits"


def choose_architectures(ready: Ready, names: tuple[str, ...], dataset: str) -> tuple[KnownArchitecture, ...]:
    """Return the architectures of these names, or, without names, all that fit the images.

    Raises:
        UsageError: for an unknown name, or images too small.
    """
    known = {architecture.name: architecture for architecture in ready.architectures}
    for name in names:
        if name not in known:
            raise UsageError(f"Unknown architecture {name!r}. Registered: {', '.join(known)}.")
        if misfit := known[name].misfit:
            raise UsageError(misfit)
    chosen = tuple(known[name] for name in names or known if not known[name].misfit)
    if not chosen:
        reasons = " ".join(architecture.misfit or "" for architecture in ready.architectures)
        raise UsageError(f"No registered architecture takes the images of {dataset}: {reasons}")
    return chosen
