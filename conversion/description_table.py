"""Print what a Core ML file contains, or what differs between two."""

from __future__ import annotations

from collections.abc import Sequence

from architectures.display import say
from conversion.description import Description
from experiments.views.tables import print_cells

LABELS_SHOWN = 20
TEXT_COLUMNS = frozenset({"layer", "kind", "stored as", "what", "file", "other"})


def show(described: Description) -> None:
    """Print what a file is, and the table of its parts."""
    ios = f"iOS {described.minimum_ios} or later" if described.minimum_ios else "of an unknown iOS"
    say(f"{described.file}: {described.kind}, specification {described.specification_version}, {ios}")
    for what, features in (("input", described.inputs), ("output", described.outputs)):
        for feature in features:
            say(f"  {what} {feature.name}: {feature.type}" + f"  {feature.description}" * bool(feature.description))
    for scaling in described.scalings:
        say(f"  {scaling.input}: {scaling.text}")
    if described.labels:
        shown = ", ".join(map(str, described.labels[:LABELS_SHOWN]))
        say(f"  {len(described.labels):,} labels: {shown}" + ", ..." * (len(described.labels) > LABELS_SHOWN))
    for name, text in described.metadata_texts.items():
        say(f"  {name}: {text}")
    say(f"  {described.weights:,} weights: {'; '.join(described.storage) or 'none'}")
    lines = [
        [
            part.name,
            part.kind,
            f"{part.weights:,}" if part.weights else "",
            "; ".join(part.storage),
            f"{part.bytes:,}",
            f"{part.bytes / described.size_bytes:.1%}",
        ]
        for part in described.parts
    ]
    lines.append(["total", "", f"{described.weights:,}", "", f"{described.size_bytes:,}", "100.0%"])
    print_cells(["layer", "kind", "weights", "stored as", "bytes", "share"], lines, words=TEXT_COLUMNS)
    for reason in described.not_executable:
        say(f"cannot be executed here: {reason}")
    if not described.not_executable:
        say("can be executed here, as far as can be seen without trying: python -m conversion.runtime")


def show_differences(found: Sequence[tuple[str, str, str]]) -> None:
    """Print what differs between two files."""
    if found:
        print_cells(["what", "file", "other"], found, words=TEXT_COLUMNS)
    else:
        say("no difference")
