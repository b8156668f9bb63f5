"""A data set of the user's: `data._target_=package.module.Class`.

The class makes map-style data sets (a length, and items of image and label). If its constructor
takes ``split``, it is called with ``split="train"`` and ``split="test"``; if it takes ``train``,
with true and false, as torchvision's do; otherwise one set is made and split 60/20/20. If it takes
``root``, it gets the directory that `data.root` names. Other `data.*` values are passed on.

Images are PIL images, or arrays or tensors [C, H, W] or [H, W]: uint8, or floating point, which is
kept as float32. All have one shape. Labels are whole numbers from 0 without gaps (`labels`); where
the data set has a list ``classes``, it names them all.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablate.config.targets import locate
from ablate.data.dataset import Dataset
from ablate.data.labels import numbered
from ablate.data.pixels import constant
from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

_SETTINGS = ("_target_", "labels")


def read(cls: Any, arguments: Mapping[str, Any], root: Path, how: str = "keep") -> Source:
    """Make the user's data sets and take all their items.

    Args:
        cls: The class, or a function that returns a data set.
        arguments: Further keyword arguments.
        root: Where files lie, for a class that asks.
        how: `data.labels`.

    Raises:
        AblateError: The class or one of its items is not what is described above.
    """
    name = f"data._target_={cls.__module__}.{cls.__qualname__}"
    takes = _parameters(cls)
    kwargs = dict(arguments) | ({"root": str(root)} if "root" in takes else {})
    variants: dict[str, dict[str, Any]] = {"train": {}}
    if "split" in takes:
        variants = {"train": {"split": "train"}, "test": {"split": "test"}}
    elif "train" in takes:
        variants = {"train": {"train": True}, "test": {"train": False}}
    images: dict[str, Array] = {}
    labels: dict[str, list[Any]] = {}
    classes: tuple[str, ...] = ()
    for part, extra in variants.items():
        try:
            dataset = cls(**kwargs, **extra)
            images[part], labels[part] = _items(dataset)
        except AblateError as error:
            raise AblateError(*(f"{name}, {part}: {fault}" for fault in error.faults)) from error
        # The user's code may raise anything.
        except Exception as error:
            raise AblateError(
                f"{name} does not give its {part} images: {type(error).__name__}: {error}"
            ) from error
        classes = classes or _class_names(dataset)
    formats = {f"{some.dtype} {list(some.shape[1:])}" for some in images.values()}
    if len(formats) > 1:
        raise AblateError(f"{name}: train and test images differ: {', '.join(sorted(formats))}")
    try:
        numbers, classes, notes = numbered(labels, classes, how)
        notes += constant(images["train"])
    except AblateError as error:
        raise AblateError(*(f"{name}: {fault}" for fault in error.faults)) from error
    return Source(
        {part: Part(images[part], numbers[part]) for part in images}, classes, tuple(notes)
    )


def _parameters(cls: Any) -> set[str]:
    try:
        return set(inspect.signature(cls).parameters)
    # Some classes written in C tell nothing of their parameters.
    except ValueError:
        return set()


def _class_names(dataset: Any) -> tuple[str, ...]:
    classes = getattr(dataset, "classes", None)
    return tuple(str(c) for c in classes) if isinstance(classes, list | tuple) else ()


def _items(dataset: Any) -> tuple[Array, list[Any]]:
    items = [_item(index, dataset[index]) for index in range(len(dataset))]
    if not items:
        raise AblateError("the data set is empty")
    images = [image for image, _ in items]
    formats = {f"{image.dtype} {list(image.shape)}" for image in images}
    if len(formats) > 1:
        raise AblateError(
            f"the images differ: {', '.join(sorted(formats)[:3])}; bring them to one shape and type"
        )
    return np.stack(images), [label for _, label in items]


def _item(index: int, item: Any) -> tuple[Array, Any]:
    if isinstance(item, Mapping):
        raise AblateError(
            f"item {index} is a dictionary with the keys {', '.join(map(str, item))}: return a pair"
            " of image and label, such as item['image'], item['label']"
        )
    if not isinstance(item, tuple | list) or len(item) < 2:
        what = (
            f"{type(item).__name__}{f' of {len(item)}' if isinstance(item, tuple | list) else ''}"
        )
        raise AblateError(f"item {index} is a {what}: return a pair of image and label")
    pixels = _pixels(item[0])
    if pixels.ndim != 3 or pixels.shape[0] > 4:
        raise AblateError(
            f"image {index} has the shape {list(pixels.shape)}; [C, H, W] or [H, W] is needed"
        )
    if not np.isfinite(pixels).all():
        raise AblateError(f"image {index} holds values that are not finite")
    return pixels, item[1]


def _pixels(image: Any) -> Array:
    if hasattr(image, "getbands"):  # PIL keeps its channels last, and colours in a palette
        pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        pixels = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels
    else:
        pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _read(root: Path, settings: Mapping[str, Any]) -> Source:
    arguments = {name: value for name, value in settings.items() if name not in _SETTINGS}
    own = locate(settings["_target_"], "data._target_")
    return read(own, arguments, root, settings.get("labels") or "keep")


CUSTOM = Dataset(
    "custom", _read, files=None, settings=_SETTINGS, unpublished="it is your own data set"
)
