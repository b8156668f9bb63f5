"""Checks the labels of a user's own data, and numbers them 0, 1, 2, ...: one class per image.

A network has an output for each number up to the highest label. So labels with gaps would give it
outputs that are never trained, and numbers that are not classes would train without a warning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablate.data.source import Array
from ablate.errors import AblateError

_MAP = "data.labels=map numbers them in their order"
_MANY = 20  # with more different labels, check whether they are classes at all
_SHOWN = 4
_WHOLE = re.compile(r"-?\d+")


def numbered(
    labels: Mapping[str, Sequence[Any]], classes: Sequence[str], how: str
) -> tuple[dict[str, Array], tuple[str, ...], list[str]]:
    """Turn the labels of each part into 0, 1, 2, ... .

    Args:
        labels: Part -> the label of each item, as the user's data set returns it.
        classes: Names of all classes, if the data set has them.
        how: `data.labels`: ``keep`` takes whole numbers from 0 as they are; ``map`` numbers any
            numbers or texts in sorted order.

    Returns:
        Part -> int64 [N]; the names of the classes; notes for the user, a sentence each.

    Raises:
        AblateError: A label is not a single class, or labels have gaps, or a class is never
            trained; names the item and says what to do.
    """
    plain = {part: _plain(part, values, how) for part, values in labels.items()}
    if how == "map":
        return _mapped(plain)
    numbers = {part: np.array(values, np.int64) for part, values in plain.items()}
    everything = np.concatenate(list(numbers.values()))
    _refuse_unusable(everything, numbers["train"], classes)
    names = tuple(classes) or tuple(str(label) for label in range(int(everything.max()) + 1))
    bare = np.setdiff1d(np.arange(len(names)), numbers["train"])
    notes = []
    if len(bare):
        some = _some([names[label] for label in bare])
        notes.append(f"the data set names {len(names)} classes, {len(bare)} without images: {some}")
    return numbers, names, notes


def named(
    labels: Mapping[str, Sequence[Any]], classes: Sequence[str], how: str, place: str
) -> tuple[dict[str, Array], tuple[str, ...], list[str]]:
    """Number the labels of a table; texts are class names unless they are numbers.

    Args:
        labels: As in `numbered`.
        classes: As in `numbered`.
        how: As in `numbered`; texts are numbered in sorted order either way.
        place: What to name in an error.

    Raises:
        AblateError: As `numbered`.
    """
    texts = [value for values in labels.values() for value in values if isinstance(value, str)]
    empty = [part for part, values in labels.items() for value in values if value == ""]
    if empty:
        raise AblateError(f"{place}: an image of {empty[0]} has no label: leave such rows out")
    if texts and all(_WHOLE.fullmatch(text) for text in texts):
        labels = {part: [int(value) for value in values] for part, values in labels.items()}
    elif texts:
        how = "map"
    try:
        return numbered(labels, classes, how)
    except AblateError as error:
        raise AblateError(*(f"{place}: {fault}" for fault in error.faults)) from error


def _mapped(
    plain: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, Array], tuple[str, ...], list[str]]:
    kinds = {isinstance(value, str) for values in plain.values() for value in values}
    if len(kinds) > 1:
        raise AblateError("some labels are text and others numbers: data.labels=map takes one kind")
    known = sorted(set(plain["train"]))
    if len(known) < 2:
        raise AblateError(f"all training images have the label {known[0]!r}: ≥ 2 are needed")
    for part, values in plain.items():
        _refuse_untrained(sorted(set(values) - set(known)), part, values)
    place = {value: label for label, value in enumerate(known)}
    numbers = {p: np.array([place[v] for v in values], np.int64) for p, values in plain.items()}
    names = tuple(str(value) for value in known)
    shown = ", ".join(f"{value} is {label}" for label, value in enumerate(names[:_SHOWN]))
    more = ", ..." if len(names) > _SHOWN else ""
    return numbers, names, [f"labels are numbered in their order: {shown}{more}"]


def _refuse_untrained(missing: Sequence[Any], part: str, values: Sequence[Any]) -> None:
    if missing:
        item = list(values).index(missing[0])
        raise AblateError(
            f"{part}: label {item} is {missing[0]!r}, but no training image has it: a class that"
            " is never trained cannot be recognized; remove such images, or add training images"
        )


def _refuse_unusable(everything: Array, train: Array, classes: Sequence[str]) -> None:
    lowest, highest = int(everything.min()), int(everything.max())
    distinct = np.unique(everything)
    measured = " (if they measure something: regression is not trained here)"
    measured = measured if len(distinct) > _MANY else ""
    if len(distinct) > _MANY and len(distinct) > len(everything) / 2:
        raise AblateError(
            f"there are {len(distinct):,} different labels on {len(everything):,} images, like"
            " measurements: regression is not trained here; group the numbers into classes, or"
            f" if they are classes: {_MAP}"
        )
    if lowest < 0 or len(distinct) < 2:
        raise AblateError(
            "labels must be whole numbers from 0, of ≥ 2 classes; they go from"
            f" {lowest} to {highest}{f'; {_MAP}' if len(distinct) > 1 else ''}"
        )
    if classes and highest >= len(classes):
        raise AblateError(f"it names {len(classes)} classes, but has the label {highest}; {_MAP}")
    if not classes and len(distinct) <= highest:
        raise AblateError(
            f"labels are {_some(distinct.tolist())}: of a network's {highest + 1} outputs,"
            f" {highest + 1 - len(distinct)} would never be trained; {_MAP}{measured}"
        )
    untrained = np.setdiff1d(distinct, train)
    if len(untrained):
        raise AblateError(
            f"no training image has the label {untrained[0]}, but other images do: a class that is"
            " never trained cannot be recognized; remove such images, or add training images"
        )


def _some(values: Sequence[Any]) -> str:
    return ", ".join(str(v) for v in values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")


# -- one label -------------------------------------------------------------------------------------


def _plain(part: str, values: Sequence[Any], how: str) -> list[Any]:
    """Turn labels into Python integers, or with ``map`` also other numbers or texts."""
    return [_one(f"{part}: label {index}", value, how) for index, value in enumerate(values)]


def _one(item: str, value: Any, how: str) -> Any:
    if isinstance(value, str):
        if how == "map":
            return value
        raise AblateError(f"{item} is the text {value!r}, but numbers are needed: {_MAP}")
    if value is None:
        raise AblateError(f"{item} is None: every image needs a label; leave out those without")
    if isinstance(value, Mapping):
        raise AblateError(
            f"{item} is a dictionary with {_some(list(value))}: return one of its values"
        )
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise AblateError(f"{item} is {value!r}; whole numbers from 0 are needed")
    if array.size != 1:
        raise AblateError(f"{item} {_of_several(array)}")
    number = array.reshape(-1)[0].item()
    if not math.isfinite(number) or (how != "map" and int(number) != number):
        raise AblateError(
            f"{item} is {number!r}; whole numbers from 0 are needed. Networks here classify and do"
            f" no regression; if such numbers are classes: {_MAP}"
        )
    return int(number) if int(number) == number else number


def _of_several(array: Array) -> str:
    """Say what a label of several numbers seems to be, and what to do."""
    flat = array.reshape(-1)
    ones = int((flat == 1).sum())
    if np.isin(flat, (0, 1)).all() and flat.size > 1:
        if ones == 1:
            return (
                f"is one-hot ({flat.size} numbers, a 1 at {int(flat.argmax())}): return the index"
                " of the 1, label.argmax()"
            )
        return (
            f"names {ones} of {flat.size} classes at once: here each image has one class;"
            " return one number, or make a data set for each class"
        )
    return f"has the shape {list(array.shape)}: one whole number from 0 is needed"
