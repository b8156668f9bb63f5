"""Finds images that are equal: file by file, or pixel by pixel as they are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ablate.data.content_split import copies, fingerprint
from ablate.data.discovery import shown
from ablate.data.source import Array, Part

_SHOWN = 3


def joined(
    parts: Mapping[str, Part], paths: Mapping[str, Sequence[Path]], root: Path
) -> tuple[dict[str, Part], list[str]]:
    """Give images of equal pixels one content, and tell what is there more than once.

    Args:
        parts: Images, with the hash of each file in `content`.
        paths: The file of each image.
        root: Their folder.

    Returns:
        The parts, and a sentence each on copies within ``train``, in two parts, and in two classes.
    """
    names = list(parts)
    content = np.concatenate([_content(part) for part in parts.values()])
    content = _joined(content, [image for part in parts.values() for image in part.images])
    ends = np.cumsum([len(part.labels) for part in parts.values()])
    pieces = dict(zip(names, np.split(content, ends[:-1]), strict=True))
    new = {name: replace(part, content=pieces[name]) for name, part in parts.items()}
    where = [(name, path) for name in names for path in paths[name]]
    labels = np.concatenate([part.labels for part in parts.values()])
    return new, _told(content, labels, where, root)


def _content(part: Part) -> Array:
    assert part.content is not None, "the reader hashes the files"
    return part.content


def _joined(content: Array, images: Sequence[Array]) -> Array:
    """Give images of equal pixels the lowest of their contents."""
    sums = np.array([_sum(image) for image in images], np.uint64)
    _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    groups: dict[bytes, list[int]] = {}
    for index in np.flatnonzero(counts[inverse] > 1).tolist():  # a sum may be equal by chance
        groups.setdefault(fingerprint(np.ascontiguousarray(images[index]).data), []).append(index)
    content = content.copy()
    for members in groups.values():
        content[members] = min(content[members].tolist())
    return content


def _sum(image: Array) -> int:
    """Sum up pixels, each times a number of its own, modulo 2^64."""
    flat = image.reshape(-1)
    padded = np.zeros(-(-len(flat) // 8) * 8, np.uint8)
    padded[: len(flat)] = flat
    words = padded.view(np.uint64)
    weights = np.arange(1, len(words) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return int((words * weights).sum(dtype=np.uint64))


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _told(
    content: Array, labels: Array, where: Sequence[tuple[str, Path]], root: Path
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
            " = ".join(shown(where[index][1].relative_to(root)) for index in members[:2])
            for members in some[:_SHOWN]
        ]
        return ", ".join(pairs) + (", ..." if len(some) > _SHOWN else "")

    notes = []
    if across:
        count = sum(where[index][0] != "train" for members in across for index in members)
        notes.append(
            f"copied from one split into another, so that what is measured on them is not held out:"
            f" {_images(count)} of the val or test folder ({shown_some(across)})"
        )
    if within:
        count = sum(len(members) - 1 for members in within)
        notes.append(
            f"exact copies of other images in their split: {_images(count)} ({shown_some(within)})"
        )
    if torn:
        notes.append(
            f"in several classes, so that at least one label is wrong: {_images(len(torn))}"
            f" ({shown_some(torn)})"
        )
    return notes
