"""`folder`: the user's own images, in a directory with one subdirectory per class.

    root/cats/a.jpg  root/dogs/b.png ...          split 60/20/20, by content
    root/train/cats/a.jpg  root/test/cats/...     as given; root/val too, if it exists

`discovery` says how folders are read, `decoding` how images are. If all images are grey, they are
read as one channel, otherwise as RGB. Equal images are reported, and stay together when the split
is drawn.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data import duplicates, pixels
from ablate.data.dataset import Dataset
from ablate.data.decode_many import Encoded, Fault, SizesError, decode_all
from ablate.data.decoding import glance
from ablate.data.discovery import Discovered, counted, discover, shown
from ablate.data.image_cache import Room
from ablate.data.source import Part, Source
from ablate.errors import AblateError

_SETTINGS = ("image_size", "background", "levels", "splits", "on_bad", "split_by")


def _read(root: Path, settings: Mapping[str, Any], room: Room) -> Source:
    """Decode every image.

    Raises:
        AblateError: Images do not decode, and `on_bad` is not ``skip``; the first few are named.
    """
    levels, size = settings.get("levels"), settings["image_size"]
    pixels.check_levels(levels)
    found = _LISTED.pop(_key(root, settings), None) or _found(root, settings)
    encoded = Encoded(
        {part: [path for path, _ in files] for part, files in found.parts.items()},
        {
            part: np.array([label for _, label in files], np.int64)
            for part, files in found.parts.items()
        },
        found.classes,
    )
    how = {"size": size, "background": settings.get("background"), "levels": levels}
    try:
        decoded = decode_all(encoded, room, how, skip=settings.get("on_bad") == "skip")
    except SizesError as error:
        raise AblateError(_several_sizes(encoded, root)) from error
    for name, part in decoded.parts.items():
        _require_images(found, name, part, root)
    paths = decoded.places
    parts, told = duplicates.joined(decoded.parts, paths, decoded.sums, root)
    if settings.get("split_by") != "content":  # so that the digest equals that in older records
        parts = {name: replace(part, content=None) for name, part in parts.items()}
    pixels.refuse_wrong_range(parts, paths, levels, root)
    alike = pixels.constant(parts["train"].images)
    notes = (*found.notes, *_left_out(encoded, decoded.faults, root), *told, *alike)
    return decoded.source(parts, notes)


def image_sizes(root: Path, settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List width and height of each image that opens, as stored in its file."""
    found = _found(root, settings)
    seen = (glance(path) for files in found.parts.values() for path, _ in files)
    return [one.size for one in seen if one is not None]


def _found(root: Path, settings: Mapping[str, Any]) -> Discovered:
    return discover(root, settings.get("splits") or "auto", settings.get("on_bad") or "error")


# What `_listed` found last, for the `_read` that follows: listing fifty thousand files again takes
# as long as decoding six thousand.
_LISTED: dict[str, Discovered] = {}


def _key(root: Path, settings: Mapping[str, Any]) -> str:
    return repr((root.absolute(), sorted(settings.items())))


def _files(root: Path) -> list[Path]:
    """List all images.

    Raises:
        AblateError: They are not laid out as `discovery` says.
    """
    return [Path(file) for file in _listed(root, {})]


def _listed(root: Path, settings: Mapping[str, Any]) -> list[str]:
    """List all images, and whatever else may change what is read."""
    _LISTED.clear()
    found = _LISTED[_key(root, settings)] = _found(root, settings)
    return found.files


def _left_out(encoded: Encoded, bad: Sequence[Fault], root: Path) -> list[str]:
    """Count the images that do not decode by reason."""
    by_kind: dict[str, list[Path]] = {}
    for fault in bad:
        by_kind.setdefault(fault.kind, []).append(Path(_path(encoded, fault)))
    return [f"left out, since it does not decode: {counted(by_kind, root)}"] if bad else []


def _path(encoded: Encoded, fault: Fault) -> str:
    path = encoded.places[fault.part][fault.number]
    assert isinstance(path, str), "each image is a file"
    return path


def _several_sizes(encoded: Encoded, root: Path) -> str:
    """Word the error for images of several sizes under `data.image_size=null`."""
    first: dict[tuple[int, int], str] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    for path in (path for places in encoded.places.values() for path in places):
        if isinstance(path, str) and (seen := glance(path)) is not None:
            sizes[seen.size] += 1
            first.setdefault(seen.size, path)
    some = ", ".join(
        f"{count:,} of {width} × {height} ({shown(os.path.relpath(first[width, height], root))})"
        for (width, height), count in sizes.most_common(3)
    )
    return (
        f"data.image_size=null keeps the size that images have, but they have {len(sizes)} sizes:"
        f" {some}; resize all to one size with data.image_size=32, say"
    )


def _require_images(found: Discovered, part: str, images: Part, root: Path) -> None:
    trained = set(images.labels.tolist())
    bare = [name for label, name in enumerate(found.classes) if label not in trained]
    if not trained or (bare and part == "train"):
        what = f"of {', '.join(bare)}" if trained else f"in {shown(found.roots[part])}"
        raise AblateError(f"data.root={shown(root)}: no image {what} decodes")


FOLDER = Dataset(
    "folder",
    _read,
    _files,
    settings=_SETTINGS,
    unpublished="it is your own data set",
    listed=_listed,
    kept=True,
)
