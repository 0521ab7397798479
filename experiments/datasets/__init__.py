"""Data sets by name: the built-in ones, those of plugins, and the user's own files.

`load("mnist5k")` loads a registered data set; `load("folder:/my/images?image_size=24x32")` reads files. The same text
is the `dataset` parameter of a run, from which its data are loaded again.
"""

from experiments.datasets.registry import (
    Dataset,
    Split,
    is_known,
    load,
    names,
    register_dataset,
    register_source,
)
from experiments.datasets.source import COLOR_MODES, FITS, Options, Source, located, reading_of, title

__all__ = [
    "COLOR_MODES",
    "FITS",
    "Dataset",
    "Options",
    "Source",
    "Split",
    "is_known",
    "load",
    "located",
    "names",
    "reading_of",
    "register_dataset",
    "register_source",
    "title",
]
