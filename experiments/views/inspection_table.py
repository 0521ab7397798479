"""Print what the inspection of a data set found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from architectures.display import say
from experiments.datasets.inspection import Inspection
from experiments.views.tables import print_cells

SHOWN = 5  # lines of each kind of finding in the terminal; --json and --html have all
WIDTH = 24  # characters of a class's name


def show(inspection: Inspection) -> None:
    """Print what was found."""
    dataset = inspection.dataset
    height, width, channels = dataset.input_shape
    splits = list(inspection.counts)
    lines = [
        [name[:WIDTH], *(f"{inspection.counts[split][label]:,}" for split in splits)]
        for label, name in enumerate(dataset.class_names)
    ]
    lines.append(["all", *(f"{sum(inspection.counts[split]):,}" for split in splits)])
    say(f"{dataset.name}: {height}x{width}x{channels}")
    print_cells(["class", *splits], lines, words={"class"})
    if inspection.files:
        found = inspection.files
        for what, counts in (("sizes", found.sizes), ("formats", found.formats), ("modes", found.modes)):
            say(f"{what}: {_counted(counts)}")
        if found.profiles:
            say(f"colour profiles, converted to sRGB: {_counted(found.profiles)}")
        if found.turned:
            say(f"turned upright: {found.turned:,}")
    if inspection.looked_at:
        say("sizes differ: examined at {}x{}; choose a size with --image-size".format(*inspection.looked_at))
    for note in dataset.notes:
        say(f"note: {note}")
    for what, groups in (
        ("copies across splits", inspection.copies.across_splits),
        ("copies across classes", inspection.copies.across_classes),
    ):
        _list(what, [" = ".join(f"{place} ({place.split})" for place in group) for group in groups])
    _list("near copies, pairs", [f"{one} ~ {other}" for one, other in inspection.near])
    _list("labels in doubt", [suspect.text(dataset.class_names) for suspect in inspection.suspects])
    for problem in inspection.problems:
        say(f"wrong: {problem}")
    if not inspection.problems:
        say("nothing wrong was found" + (", except for labels in doubt" if inspection.suspects else ""))


def _list(what: str, lines: Sequence[str]) -> None:
    """Print the first findings, and how many more there are."""
    if not lines:
        return
    say(f"{what}: {len(lines):,}")
    for line in lines[:SHOWN]:
        say(f"  {line}")
    if len(lines) > SHOWN:
        say(f"  and {len(lines) - SHOWN:,} more: --json or --html")


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - SHOWN} others" if len(counts) > SHOWN else "")
