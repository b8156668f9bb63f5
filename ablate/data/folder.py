"""`folder`: the user's own images, in a directory with one directory a class.

    root/cats/a.jpg  root/dogs/b.png ...          split 60/20/20, by content
    root/train/cats/a.jpg  root/test/cats/...     as given; root/val too, where there is one

`discovery` says how folders are understood, `decoding` what becomes of an image. All grey is read
as one channel, anything else as RGB. Equal images are told, and where the split is drawn they stay
together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data import duplicates, pixels
from ablate.data.content_split import fingerprint
from ablate.data.dataset import Dataset
from ablate.data.decoding import DecodingError, decode, glance
from ablate.data.discovery import Discovered, counted, discover, shown
from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

_TOLD = 5  # broken images in one message
_SETTINGS = ("image_size", "background", "levels", "splits", "on_bad", "split_by")


@dataclass(frozen=True)
class Labelled:
    """An image file: its part, path and label."""

    part: str
    path: Path
    label: int


@dataclass(frozen=True)
class Decoded:
    """An image of a file, uint8 [C, H, W], and a hash of the file, 16 bytes."""

    image: Array
    content: bytes


def _read(root: Path, settings: Mapping[str, Any]) -> Source:
    """Decode every image.

    Raises:
        AblateError: An image does not decode, and is not to be left out; the first few are named.
    """
    levels = settings.get("levels")
    pixels.check_levels(levels)
    found = _found(root, settings)
    files = [Labelled(part, *file) for part, some in found.parts.items() for file in some]
    grey = _all_grey([file.path for file in files])
    how = {
        "size": settings["image_size"],
        "channels": 1 if grey else 3,
        "background": settings.get("background"),
        "levels": levels,
    }
    images = _images([file.path for file in files], how, settings.get("on_bad") or "error")
    bad = [image for image in images if isinstance(image, DecodingError)]
    kept = [(f, i) for f, i in zip(files, images, strict=True) if isinstance(i, Decoded)]
    _refuse_sizes(kept, root)
    parts = _parts(found, kept, root)
    paths = {part: [f.path for f, _ in kept if f.part == part] for part in parts}
    parts, told = duplicates.joined(parts, paths, root)
    if settings.get("split_by") != "content":  # so the digest is that of older records
        parts = {name: replace(part, content=None) for name, part in parts.items()}
    pixels.refuse_wrong_range(parts, paths, levels, root)
    notes = [*found.notes, *_left_out(bad, root), *told, *pixels.constant(parts["train"].images)]
    return Source(parts, found.classes, tuple(notes))


def image_sizes(root: Path, settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """List width and height of each image as it lies in its file, of those that open."""
    found = _found(root, settings)
    seen = (glance(path) for files in found.parts.values() for path, _ in files)
    return [one.size for one in seen if one is not None]


def _found(root: Path, settings: Mapping[str, Any]) -> Discovered:
    return discover(root, settings.get("splits") or "auto", settings.get("on_bad") or "error")


def _files(root: Path) -> list[Path]:
    """List all images.

    Raises:
        AblateError: They do not lie as `discovery` says.
    """
    return _listed(root, {})


def _listed(root: Path, settings: Mapping[str, Any]) -> list[Path]:
    """List all images, and what else would change how they are read."""
    return _found(root, settings).files


def _all_grey(paths: Sequence[Path]) -> bool:
    """Tell whether all images are grey; those that do not open are told when they are decoded."""
    return all(seen is None or seen.grey for seen in map(glance, paths))


def _images(
    paths: Sequence[Path], how: Mapping[str, Any], on_bad: str
) -> list[Decoded | DecodingError]:
    """Decode images, and tell what is wrong with those that do not decode.

    Raises:
        AblateError: Some do not, and `on_bad` is error.
    """
    images: list[Decoded | DecodingError] = []
    faults: list[DecodingError] = []
    for path in paths:
        image = attempted(path, how)
        images.append(image)
        if isinstance(image, DecodingError) and on_bad == "error":
            faults.append(image)
            if len(faults) == _TOLD:
                break
    if faults:
        raise AblateError(*(str(fault) for fault in faults))
    return images


def attempted(path: Path, how: Mapping[str, Any]) -> Decoded | DecodingError:
    """Decode one file, or tell what is wrong with it.

    Args:
        path: The file.
        how: The keywords of `decode`.
    """
    try:
        content = path.read_bytes()
        return Decoded(decode(content, **how, name=shown(path)), fingerprint(content))
    except DecodingError as error:
        return error
    except (OSError, MemoryError):  # `decode` tells it, with the reason
        try:
            return Decoded(decode(path, **how), b"")
        except DecodingError as error:
            return error


def _left_out(bad: Sequence[DecodingError], root: Path) -> list[str]:
    """Count what does not decode by its reason."""
    by_kind: dict[str, list[Path]] = {}
    for error in bad:
        by_kind.setdefault(error.kind, []).append(Path(error.file))
    return [f"left out, since it does not decode: {counted(by_kind, root)}"] if bad else []


def _refuse_sizes(kept: Sequence[tuple[Labelled, Decoded]], root: Path) -> None:
    """Refuse images of several sizes, which only `data.image_size=null` leaves."""
    sizes = Counter(image.image.shape[1:] for _, image in kept)
    if len(sizes) < 2:
        return
    first = {image.image.shape[1:]: file.path for file, image in reversed(kept)}
    some = ", ".join(
        f"{count:,} of {width} × {height} ({shown(os.path.relpath(first[height, width], root))})"
        for (height, width), count in sizes.most_common(3)
    )
    raise AblateError(
        f"data.image_size=null keeps the size that images have, and they have {len(sizes)} sizes:"
        f" {some}; data.image_size=32, say, brings them to one"
    )


def _parts(
    found: Discovered, kept: Sequence[tuple[Labelled, Decoded]], root: Path
) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for part in found.parts:
        some = [(file, image) for file, image in kept if file.part == part]
        trained = {file.label for file, _ in some}
        bare = [name for label, name in enumerate(found.classes) if label not in trained]
        if not some or (bare and part == "train"):
            what = f"of {', '.join(bare)}" if some else f"in {shown(found.roots[part])}"
            raise AblateError(f"data.root={shown(root)}: no image {what} decodes")
        parts[part] = Part(
            _stacked([image.image for _, image in some]),
            np.array([file.label for file, _ in some], np.int64),
            np.frombuffer(b"".join(image.content for _, image in some), np.uint8).reshape(-1, 16),
        )
    return parts


def _stacked(images: Sequence[Array]) -> Array:
    try:
        return np.stack(images)
    except MemoryError as error:
        channels, height, width = images[0].shape
        raise AblateError(
            f"{len(images):,} images of {channels} × {height} × {width} take"
            f" {len(images) * images[0].nbytes / 2**30:,.1f} GiB, and there is not so much memory:"
            " take a smaller data.image_size"
        ) from error


FOLDER = Dataset(
    "folder",
    _read,
    _files,
    settings=_SETTINGS,
    unpublished="it is your own data set",
    listed=_listed,
)
