"""The options that choose the images, for `search.sweep`, `search.trial` and `experiments.leaderboard`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from architectures.command import Parser
from architectures.errors import UsageError
from experiments.datasets.source import COLOR_MODES, FITS, Options, background, image_size, located

DATASET_HELP = (
    "mnist5k (bundled), digits, mnist, fashion_mnist, cifar10, a data set of a plugin, or your own files: "
    "folder:DIR (a folder per class), idx:DIR (MNIST's format), npz:FILE"
)
IMAGE_OPTIONS = tuple(vars(Options()))
Value = TypeVar("Value")


def add_arguments(parser: Parser, help: str = f"{DATASET_HELP} (default mnist5k)") -> None:
    """Add `--dataset` with its help, and the options of images in files."""
    parser.add_argument("--dataset", metavar="NAME", help=help)
    add_image_options(parser)


def add_image_options(parser: Parser) -> None:
    """Add the options of images in files."""
    add = parser.add_argument
    add("--image-size", type=_type(image_size), metavar="HxW", help="resize the images of folder:DIR to this size")
    add(
        "--fit",
        choices=FITS,
        help="how to resize: crop (the default) keeps the centre, pad adds margins, squash stretches",
    )
    add("--color-mode", choices=COLOR_MODES, help="of the images of folder:DIR (default: grayscale if all files are)")
    add(
        "--background",
        type=_type(background),
        metavar="COLOR",
        help="of transparent pixels and margins: white (the default), black, or six digits such as 1e90ff",
    )


def dataset_given(arguments: argparse.Namespace, default: str) -> str | None:
    """Return the requested data set as recorded, with its options and an absolute path; None if none was given."""
    options = Options(**{name: getattr(arguments, name) for name in IMAGE_OPTIONS})
    return located(arguments.dataset or default, options) if arguments.dataset or options.any else None


def _type(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return an argparse type for a function that raises UsageError."""

    def parsed(text: str) -> Value:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed
