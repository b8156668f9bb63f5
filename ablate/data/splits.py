"""Stratified splits: which images train, validate and test.

They are the same for every seed, unless `seeds.split` redraws them. There are two kinds
(`data.split_by`). Folders are split by *content*, so that an image can be added without moving the
others (`content_split`). All other data sets are split by *order*: test, validation and training
images are cut, in this sequence, from one stratified order. Each of its prefixes holds the classes
in their overall proportions to less than one image, so a split in the middle does to less than two.
So a smaller training set is a subset of a larger one, and changing `data.train_size` leaves
validation and test as they are.

Source: Tijdeman 1980, "The chairman assignment problem" (such an order exists); Baruah et al. 1996,
"Proportionate progress", section 3 (the windows used to build it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush

import numpy as np

from ablate.data.content_split import ClassCount, by_rank, class_counts, test_counts, val_counts
from ablate.data.registry import DATASETS
from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

_FIFTH = Fraction(1, 5)  # of all images, each for validation and test, if the files fix neither


@dataclass(frozen=True)
class Sizes:
    """How many images a split has."""

    train: int
    val: int
    test: int


def stratified_order(labels: Array, seed: int | None = None) -> Array:
    """Order images so that every prefix is stratified.

    Args:
        labels: int64 [N].
        seed: `seeds.split`, which draws another such order; None gives the fixed one.

    Returns:
        int64 [N], a permutation of the images, the same on every machine and in every version.
    """
    # Numpy froze this generator's output for good.
    random = np.random.RandomState(0 if seed is None else _words(f"split/{seed}"))
    total = len(labels)
    first, last = np.empty(total, np.int64), np.empty(total, np.int64)
    tie = random.permutation(total)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        # Placed in this window, the nth image keeps its class's share to less than one image.
        nth = np.arange(len(members))
        first[members] = nth * total // len(members)
        last[members] = -(-(nth + 1) * total // len(members)) - 1
    return _by_earliest_end(first, last, tie)


def _words(name: str) -> Array:
    """Turn a name into a generator's seed: its SHA-256, uint32 [8]."""
    return np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")


def _by_earliest_end(first: Array, last: Array, tie: Array) -> Array:
    """Fill each place with the open window that ends first; this keeps all windows."""
    waiting = np.lexsort((tie, first))
    opens = iter([*first[waiting].tolist(), len(first)])
    ready = iter(zip(last[waiting].tolist(), tie[waiting].tolist(), waiting.tolist(), strict=True))
    order = np.empty(len(first), np.int64)
    heap: list[tuple[int, int, int]] = []
    next_open = next(opens)
    for place in range(len(first)):
        while next_open <= place:
            heappush(heap, next(ready))
            next_open = next(opens)
        end, _, order[place] = heappop(heap)
        assert end >= place, "every window is kept"
    return order


def sizes(
    name: str,
    counts: Mapping[str, int],
    train_size: int | None = None,
    val_size: int | None = None,
    by_class: Sequence[ClassCount] | None = None,
) -> Sizes:
    """Work out how many images each split gets.

    Args:
        name: The data set's name.
        counts: Images in the parts that the files define: ``train``, maybe ``val`` and ``test``.
        train_size: Training images wanted; None takes all that validation leaves.
        val_size: Validation images wanted; None takes the data set's fixed share.
        by_class: Images of each class in ``train``, for a split by content; None: by order.

    Raises:
        AblateError: More images are wanted than there are.
    """
    total = counts["train"]
    shared = None if by_class is None else _shared(name, counts, by_class)
    test = counts.get("test", int(total * _FIFTH + Fraction(1, 2)) if not shared else shared.test)
    if test < 1:
        raise AblateError(
            f"data={name} has {total} images, too few to set a fifth of them aside for the test"
        )
    pool = total if "test" in counts else total - test
    if "val" in counts:
        val = counts["val"] if val_size is None else val_size
        if val > counts["val"]:
            raise AblateError(
                f"data.val_size={val} is more than the {counts['val']} validation images"
                f" of data={name}"
            )
        left = pool
    else:
        usual = shared.val if shared else int(total * _val_share(name, counts))
        val = usual if val_size is None else val_size
        left = pool - val
        if left < 1:
            raise AblateError(
                f"data.val_size={val} leaves none of the {pool} images of data={name} to train on:"
                f" it takes a whole number from 0 to {pool - 1}"
            )
    train = left if train_size is None else train_size
    if train > left:
        raise AblateError(
            f"data.train_size={train} is more than there are: data={name} has {left} training"
            f" images beside {val} for validation and {test} for the test"
        )
    return Sizes(train, val, test)


def _val_share(name: str, counts: Mapping[str, int]) -> Fraction:
    return _FIFTH if "test" not in counts else DATASETS[name].val_share


def _shared(name: str, counts: Mapping[str, int], by_class: Sequence[ClassCount]) -> Sizes:
    """Add up the images of each class in a split by content."""
    test = [0] * len(by_class) if "test" in counts else test_counts(by_class)
    val = val_counts(by_class, test, _val_share(name, counts), None)
    return Sizes(counts["train"] - sum(test) - sum(val), sum(val), sum(test))


def untrained(parts: Mapping[str, Part], classes: Sequence[str]) -> list[str]:
    """Tell which classes have images to test or validate on, but none to train on.

    Args:
        parts: The splits.
        classes: Names of the classes.
    """
    held = {name: np.bincount(part.labels, minlength=len(classes)) for name, part in parts.items()}
    missing = np.flatnonzero((held["train"] == 0) & (held["val"] + held["test"] > 0))
    return [
        f"no training image is of class {classes[label]}, but {held['val'][label]} validation and"
        f" {held['test'][label]} test images are: such a class needs more images"
        for label in missing.tolist()
    ]


def is_drawn(counts: Mapping[str, int], wanted: Sizes) -> bool:
    """Tell whether a data set can be divided in more than one way.

    Args:
        counts: Images in the parts that the files define.
        wanted: Its sizes, from `sizes`.
    """
    some_of_val = 0 < wanted.val < counts.get("val", 0)
    return "test" not in counts or some_of_val or wanted.train < counts["train"]


def split(
    source: Source,
    wanted: Sizes,
    seed: int | None = None,
    *,
    by: str = "order",
    name: str = "folder",
) -> dict[str, Part]:
    """Divide a data set.

    Args:
        source: The data set.
        wanted: Its sizes, from `sizes`.
        seed: `seeds.split`, which draws another division; None gives the fixed one. Splits that
            the files define stay.
        by: `data.split_by`: ``order`` or ``content``.
        name: The data set's name, which gives the validation share of a split by content.

    Returns:
        ``train``, ``val`` and ``test``, in that order.
    """
    if by == "content":
        return _by_content(source, wanted, seed, name)
    whole = source.parts["train"]
    order = stratified_order(whole.labels, seed)
    parts: dict[str, Part] = {}
    if "test" in source.parts:
        parts["test"] = source.parts["test"]
    else:
        parts["test"], order = _take(whole, order, wanted.test)
    if "val" in source.parts:
        given = source.parts["val"]
        parts["val"], _ = _take(given, stratified_order(given.labels, seed), wanted.val)
    else:
        parts["val"], order = _take(whole, order, wanted.val)
    parts["train"], _ = _take(whole, order, wanted.train)
    return {name: parts[name] for name in ("train", "val", "test")}


def _by_content(source: Source, wanted: Sizes, seed: int | None, name: str) -> dict[str, Part]:
    whole, given = source.parts["train"], source.parts
    by_class, none = class_counts(whole, len(source.classes)), [0] * len(source.classes)
    test = none if "test" in given else test_counts(by_class)
    val, share = none, _val_share(name, dict.fromkeys(given, 0))
    if "val" not in given:  # each class gives its usual share, unless another size is asked for
        val = val_counts(by_class, test, share, None)
        val = val if sum(val) == wanted.val else val_counts(by_class, test, share, wanted.val)
    found = by_rank(whole, test, val, wanted.train, seed)
    parts = {part: whole.take(indices) for part, indices in found.items()}
    if "val" in given:
        some = by_rank(given["val"], none, none, wanted.val, seed)["train"]
        parts["val"] = given["val"].take(some)
    if "test" in given:
        parts["test"] = given["test"]
    return parts


def _take(part: Part, order: Array, count: int) -> tuple[Part, Array]:
    return part.take(np.sort(order[:count])), order[count:]
