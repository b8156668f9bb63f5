"""Finds equal images: equal files, or equal pixels once decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ablate.data.content_split import copies
from ablate.data.decode_many import Place
from ablate.data.discovery import shown
from ablate.data.source import Array, Part, fingerprint

_SHOWN = 3


def joined(
    parts: Mapping[str, Part],
    places: Mapping[str, Sequence[Place]],
    sums: Mapping[str, Array],
    root: Path,
) -> tuple[dict[str, Part], list[str]]:
    """Give images with equal pixels the same content hash, and report the copies.

    Args:
        parts: Images, with the hash of each file in `content`.
        places: The file of each image.
        sums: A sum over the pixels of each image, uint64 [N], equal if the pixels are.
        root: Their folder.

    Returns:
        The parts, and a sentence each on copies within ``train``, in two parts, and in two classes.
    """
    names = list(parts)
    content = np.concatenate([_content(part) for part in parts.values()])
    everywhere = np.concatenate([sums[name] for name in names])
    images = [(part, n) for part in parts.values() for n in range(len(part.labels))]
    content = _joined(content, everywhere, images)
    ends = np.cumsum([len(part.labels) for part in parts.values()])
    pieces = dict(zip(names, np.split(content, ends[:-1]), strict=True))
    new = {name: replace(part, content=pieces[name]) for name, part in parts.items()}
    where = [(name, place) for name in names for place in places[name]]
    labels = np.concatenate([part.labels for part in parts.values()])
    return new, _told(content, labels, where, root)


def _content(part: Part) -> Array:
    assert part.content is not None, "the reader hashes the files"
    return part.content


def _joined(content: Array, sums: Array, images: Sequence[tuple[Part, int]]) -> Array:
    """Give images with equal pixels the lowest of their hashes."""
    _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    groups: dict[bytes, list[int]] = {}
    for index in np.flatnonzero(counts[inverse] > 1).tolist():  # sums may be equal by chance
        part, number = images[index]
        pixels = np.ascontiguousarray(part.images[number])
        groups.setdefault(fingerprint(pixels.data), []).append(index)
    content = content.copy()
    for members in groups.values():
        content[members] = min(content[members].tolist())
    return content


def _called(place: Place, root: Path) -> str:
    if isinstance(place, str):
        return shown(os.path.relpath(place, root))
    file, _, group, row = place
    return f"{shown(os.path.relpath(file, root))}, image {row} of row group {group}"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _told(
    content: Array, labels: Array, where: Sequence[tuple[str, Place]], root: Path
) -> list[str]:
    groups: dict[bytes, list[int]] = {}
    for index in np.flatnonzero(copies(content)).tolist():
        groups.setdefault(content[index].tobytes(), []).append(index)
    within, across, torn = [], [], []
    for members in groups.values():
        parts = {where[index][0] for index in members}
        if len(parts) > 1:
            across.append(members)
        elif len(members) > 1:
            within.append(members)
        if len({int(labels[index]) for index in members}) > 1:
            torn.append(members)

    def shown_some(some: Sequence[Sequence[int]]) -> str:
        pairs = [
            " = ".join(_called(where[index][1], root) for index in members[:2])
            for members in some[:_SHOWN]
        ]
        return ", ".join(pairs) + (", ..." if len(some) > _SHOWN else "")

    notes = []
    if across:
        count = sum(where[index][0] != "train" for members in across for index in members)
        notes.append(
            f"copied from one split into another, so they are not held out:"
            f" {_images(count)} of the val or test folder ({shown_some(across)})"
        )
    if within:
        count = sum(len(members) - 1 for members in within)
        notes.append(
            f"exact copies of other images in their split: {_images(count)} ({shown_some(within)})"
        )
    if torn:
        notes.append(
            f"in several classes, so at least one label is wrong: {_images(len(torn))}"
            f" ({shown_some(torn)})"
        )
    return notes
