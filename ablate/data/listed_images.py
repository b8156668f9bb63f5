"""Images that a table lists with their labels, as `csv` and `parquet` read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ablate.data import duplicates
from ablate.data.decode_many import Encoded, Place, decode_all
from ablate.data.image_cache import Room
from ablate.data.labels import named
from ablate.data.pixels import check_levels, constant
from ablate.data.source import Source

SETTINGS: Final = (
    *("image_size", "background", "levels", "on_bad", "labels"),
    *("image_column", "label_column", "split_by"),
)


def decoded(
    places: Mapping[str, Sequence[Place]],
    labels: Mapping[str, Sequence[Any]],
    classes: Sequence[str],
    settings: Mapping[str, Any],
    room: Room,
    root: Path,
) -> Source:
    """Number the labels, decode the images, and collect notes for the user.

    Args:
        places: Part -> where its images are.
        labels: Part -> their labels, as in the table.
        classes: Names of the classes, if the table has them.
        settings: The values of `SETTINGS`.
        room: Where to put the images.
        root: `data.root`.

    Raises:
        AblateError: Labels are not classes, or images do not decode and must not be left out.
    """
    levels = settings.get("levels")
    check_levels(levels)
    numbers, names, notes = named(labels, classes, settings.get("labels") or "keep", str(root))
    how = {
        "size": settings.get("image_size"),
        "background": settings.get("background"),
        "levels": levels,
    }
    skip = settings.get("on_bad") == "skip"
    found = decode_all(Encoded(places, numbers, names), room, how, skip=skip)
    parts, alike = duplicates.joined(found.parts, found.places, found.sums, root)
    if settings.get("split_by") != "content":
        parts = {name: replace(part, content=None) for name, part in parts.items()}
    kinds = Counter(fault.kind for fault in found.faults)
    bad = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    told = [f"left out, since it does not decode: {bad}"] if bad else []
    notes = [*told, *notes, *alike, *constant(parts["train"].images)]
    return found.source(parts, notes)
