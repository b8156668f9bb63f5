"""Splits by content: the images of each class are ranked by hash, and the ranking is cut up.

An image's rank depends only on its content and the other images of its class. So files may be
renamed or reordered, and adding an image moves at most two others of its class, and none of any
other class:

    validation | ... training ... | test        a class, in the order of its hashes

As a class grows by one image, the size of each end grows by 0 or 1, so each border moves past at
most one image. Equal images stay together: they are all used for training.

Source: Balinski & Young 1982, "Fair Representation", on divisor methods (Sainte-Laguë's is used
when a size is asked for): with one more image a class gains at most one place, and no other gains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heappop, heapreplace

import numpy as np

from ablate.data.source import Array, Part, fingerprint

_TEST = Fraction(1, 5)
_ENOUGH = 3  # a class with this many images appears in every split


@dataclass(frozen=True)
class ClassCount:
    """How many images a class has.

    Attributes:
        images: All.
        single: Those without a copy in the data set.
    """

    images: int
    single: int


def class_counts(part: Part, classes: int) -> tuple[ClassCount, ...]:
    """Count the images of each class.

    Args:
        part: Images from which splits are taken.
        classes: Number of classes K.
    """
    single = ~copies(contents(part))
    all_K = np.bincount(part.labels, minlength=classes)
    single_K = np.bincount(part.labels[single], minlength=classes)
    return tuple(ClassCount(int(n), int(s)) for n, s in zip(all_K, single_K, strict=True))


def contents(part: Part) -> Array:
    """Return the hashes to rank images by, uint8 [N, 16]: `Part.content`, else of the pixels."""
    if part.content is not None:
        return part.content
    hashes = [fingerprint(np.ascontiguousarray(image).data) for image in part.images]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 16)


def copies(content_N16: Array) -> Array:
    """Tell which images equal another one, bool [N]."""
    _, inverse, counts = np.unique(content_N16, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse.reshape(-1)] > 1)


# -- how many --------------------------------------------------------------------------------------


def test_counts(counts: Sequence[ClassCount]) -> list[int]:
    """Give each class a fifth of its images for the test, rounded; one if it has two images."""
    part, whole = _TEST.as_integer_ratio()
    return [
        min(max(1, (2 * part * c.images + whole) // (2 * whole)), c.single) if c.images > 1 else 0
        for c in counts
    ]


def val_counts(
    counts: Sequence[ClassCount], test: Sequence[int], share: Fraction, wanted: int | None
) -> list[int]:
    """Give each class its images for validation.

    Args:
        counts: Images of each class.
        test: Test images of each class.
        share: Share of each class, rounded down, but at least one image if it has three or more.
        wanted: Total number; None takes the share of each class.
    """
    left = [c.single - t for c, t in zip(counts, test, strict=True)]
    part, whole = share.as_integer_ratio()
    if wanted is None:
        return [
            min(max(1, part * c.images // whole), free) if c.images >= _ENOUGH else 0
            for c, free in zip(counts, left, strict=True)
        ]
    pools = [c.images - t for c, t in zip(counts, test, strict=True)]
    some = [min(free, pool - 1) for free, pool in zip(left, pools, strict=True)]
    sizes, enough = [c.images for c in counts], [c.images >= _ENOUGH for c in counts]
    first = allotted(min(wanted, sum(some)), sizes, some, enough)
    rest = [pool - taken for pool, taken in zip(pools, first, strict=True)]
    more = allotted(wanted - sum(first), sizes, rest, enough)
    return [one + two for one, two in zip(first, more, strict=True)]


def allotted(
    places: int, sizes: Sequence[int], most: Sequence[int], first: Sequence[bool]
) -> list[int]:
    """Share out places by Sainte-Laguë's method.

    Args:
        places: Total number.
        sizes: Images of each class; the places are shared out in proportion.
        most: The most places that each class can take; their sum is at least `places`.
        first: Whether a class gets one place before any other gets its second.
    """
    taken = [0] * len(sizes)
    queue = [
        (not first[label], Fraction(-size), label)
        for label, size in enumerate(sizes)
        if most[label] > 0
    ]
    heapify(queue)
    for _ in range(places):
        _, _, label = queue[0]
        taken[label] += 1
        if taken[label] == most[label]:
            heappop(queue)
        else:
            heapreplace(queue, (True, Fraction(-sizes[label], 2 * taken[label] + 1), label))
    return taken


# -- which -----------------------------------------------------------------------------------------


def by_rank(
    part: Part,
    test: Sequence[int],
    val: Sequence[int],
    train: int | None,
    seed: int | None,
) -> dict[str, Array]:
    """Divide images.

    Args:
        part: The images.
        test: Test images of each class.
        val: Validation images of each class.
        train: Training images in total; None takes all that are left.
        seed: `seeds.split`, which draws another division; None gives the fixed one.

    Returns:
        Part -> indices int64, rising.
    """
    content = contents(part)
    doubled = copies(content)
    keys = _keys(content, seed)
    chosen: dict[str, list[Array]] = {"train": [], "val": [], "test": []}
    pools: list[Array] = []
    for label, (t, v) in enumerate(zip(test, val, strict=True)):
        members = np.flatnonzero(part.labels == label)
        ranked = members[np.lexsort((members, keys[members]))]
        single, double = ranked[~doubled[ranked]], ranked[doubled[ranked]]
        end = len(single) - t
        rest = np.concatenate([single[:end], double])
        chosen["test"].append(single[end:])
        chosen["val"].append(rest[:v])
        pools.append(rest[v:][np.argsort(keys[rest[v:]], kind="stable")])
    sizes = [len(pool) for pool in pools]
    wanted = sizes if train is None else allotted(train, sizes, sizes, [True] * len(sizes))
    chosen["train"] = [pool[:number] for pool, number in zip(pools, wanted, strict=True)]
    return {name: np.sort(np.concatenate(some)) for name, some in chosen.items()}


def _keys(content_N16: Array, seed: int | None) -> Array:
    """Hash each image's content once more, with the split's seed: uint64 [N]."""
    key = b"split" if seed is None else f"split/{seed}".encode()
    rows = np.ascontiguousarray(content_N16)
    hashes = (hashlib.blake2b(row.tobytes(), digest_size=8, key=key).digest() for row in rows)
    return np.frombuffer(b"".join(hashes), dtype="<u8")
