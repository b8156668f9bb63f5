"""A data set of the user's: `data._target_=package.module.Class`.

The class makes map-style data sets (a length, and items of image and label). If its constructor
takes ``split``, it is called with ``split="train"`` and ``split="test"``; if it takes ``train``,
with true and false, as torchvision's do; otherwise one set is made and split 60/20/20. If it takes
``root``, it gets the directory that `data.root` names. Other `data.*` values are passed on.

Images are PIL images, or arrays or tensors [C, H, W] or [H, W]: uint8, or floating point, which is
kept as float32. All have one shape.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError


def read(cls: Any, arguments: Mapping[str, Any], root: Path) -> Source:
    """Make the user's data sets and take all their items.

    Args:
        cls: The class, or a function that returns a data set.
        arguments: Further keyword arguments.
        root: Where files lie, for a class that asks.

    Raises:
        AblateError: The class or one of its items is not what is described above.
    """
    names = set(inspect.signature(cls).parameters)
    kwargs = dict(arguments) | ({"root": str(root)} if "root" in names else {})
    variants: dict[str, dict[str, Any]] = {"train": {}}
    if "split" in names:
        variants = {"train": {"split": "train"}, "test": {"split": "test"}}
    elif "train" in names:
        variants = {"train": {"train": True}, "test": {"train": False}}
    parts: dict[str, Part] = {}
    classes: Any = None
    for part, extra in variants.items():
        try:
            dataset = cls(**kwargs, **extra)
            parts[part] = _part(dataset)
        except AblateError:
            raise
        # The user's code may raise anything.
        except Exception as error:
            raise AblateError(
                f"data._target_={cls.__module__}.{cls.__qualname__} does not give its"
                f" {part} images: {type(error).__name__}: {error}"
            ) from error
        classes = classes or getattr(dataset, "classes", None)
    count = 1 + max(int(part.labels.max()) for part in parts.values())
    if min(int(part.labels.min()) for part in parts.values()) < 0 or count < 2:
        raise AblateError(
            "the labels of data._target_ are to be whole numbers from 0, of ≥ 2 classes"
        )
    named = classes is not None and len(classes) == count
    return Source(parts, tuple(str(c) for c in (classes if named else range(count))))


def _part(dataset: Any) -> Part:
    items = [dataset[index] for index in range(len(dataset))]
    if not items:
        raise AblateError("the data set of data._target_ is empty")
    images = [_pixels(item[0]) for item in items]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise AblateError(
            f"the images of data._target_ differ in shape: {sorted(shapes)[:3]}; bring them to one"
        )
    return Part(np.stack(images), np.array([int(item[1]) for item in items], np.int64))


def _pixels(image: Any) -> Array:
    pixels = np.asarray(image)
    if hasattr(image, "getbands") and pixels.ndim == 3:  # PIL keeps its channels last
        pixels = np.moveaxis(pixels, -1, 0)
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or pixels.shape[0] > 4:
        raise AblateError(
            f"an image of data._target_ has the shape {pixels.shape}; [C, H, W] or [H, W] is needed"
        )
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
