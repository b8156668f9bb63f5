"""The user's own data set: `data._target_=package.module.Class`.

The class makes map-style data sets (a length, and items of image and label). It is asked for its
training images, and for validation and test images if it offers them (`own_parts`); a split that it
does not offer is taken from its training images. If it takes ``root``, it gets the directory in
`data.root`. Other `data.*` values are passed on; those with their own ``_target_`` are constructed
first, as Hydra does it (``_partial_`` too).

Images are PIL images, or arrays or tensors [C, H, W] or [H, W], with any number of channels: uint8,
or other numbers, which are stored as float32. All have one shape, and an item is the same each time
it is read. Labels are whole numbers from 0 without gaps (`labels`). If the data set has a list
``classes``, it names all classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablate.config.targets import Kind, instantiated, locate
from ablate.data.dataset import Dataset
from ablate.data.image_cache import Room
from ablate.data.labels import numbered
from ablate.data.own_parts import Offer, offers, parameters, returned
from ablate.data.pixels import constant
from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

DATA_SET = Kind(
    "data set (it has __len__ and __getitem__)",
    lambda cls: hasattr(cls, "__len__") and hasattr(cls, "__getitem__"),
)

_SETTINGS = ("_target_", "labels")
_TWICE = 1000  # items that are read twice
_FEW = 4  # most channels of a usual picture


def read(
    cls: Any, arguments: Mapping[str, Any], root: Path, how: str = "keep", room: Room | None = None
) -> Source:
    """Make the user's data sets and read all their items.

    Args:
        cls: The class, or a function that returns a data set.
        arguments: Further keyword arguments.
        root: The directory of files, for a class with that parameter.
        how: `data.labels`.
        room: Where to put the images; None for memory.

    Raises:
        AblateError: The class or one of its items is not as described above.
    """
    name = f"data._target_={cls.__module__}.{cls.__qualname__}"
    given = {key: instantiated(value, f"data.{key}") for key, value in arguments.items()}
    kwargs = given | ({"root": str(root)} if "root" in parameters(cls) else {})
    taken = _Taken(room or Room(0))
    for offer in offers(cls, kwargs):
        try:
            for part, dataset in _made(offer).items():
                taken.take(part, dataset)
        except AblateError as error:
            faults = (f"{name}, {offer.part}: {fault}" for fault in error.faults)
            raise AblateError(*faults) from error
        # The user's code may raise anything.
        except Exception as error:
            raise AblateError(
                f"{name} does not give its {offer.part} images: {type(error).__name__}:"
                f" {error}{_alone(offer)}"
            ) from error
    taken.drop_a_val_that_is_another()
    images, labels = taken.images, taken.labels
    formats = {f"{some.dtype} {list(some.shape[1:])}" for some in images.values()}
    if len(formats) > 1:
        raise AblateError(f"{name}: train and test images differ: {', '.join(sorted(formats))}")
    try:
        numbers, classes, notes = numbered(labels, taken.classes, how)
        notes += constant(images["train"])
    except AblateError as error:
        raise AblateError(*(f"{name}: {fault}" for fault in error.faults)) from error
    return Source(
        {part: Part(images[part], numbers[part]) for part in images}, classes, tuple(notes)
    )


def _made(offer: Offer) -> dict[str, Any]:
    """Make a part in the first way that works; nothing if none does and it is optional."""
    first: Exception | None = None
    for make in offer.makes:
        try:
            made = make()
        # A constructor may raise anything for a word that it does not know.
        except Exception as error:
            first = first or error
            continue
        return returned(made) if offer.part == "train" else {offer.part: made}
    if offer.sure and first is not None:
        raise first
    return {}


def _alone(offer: Offer) -> str:
    if offer.part != "test":
        return ""
    return "; if it has none, fix its parameter (data.split=train, say): that set is then split"


class _Taken:
    """The items read so far."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.images: dict[str, Array] = {}
        self.labels: dict[str, list[Any]] = {}
        self.classes: tuple[str, ...] = ()

    def take(self, part: str, dataset: Any) -> None:
        """Read all items of a part.

        Raises:
            AblateError: They cannot be used.
        """
        count = len(dataset)
        if count < 1:
            raise AblateError("the data set is empty")
        stored: Array | None = None
        labels = []
        for index in range(count):
            pixels, label = _item(index, dataset[index])
            if stored is None:
                channels, *size = pixels.shape
                stored = self._room.images(part, (count, *size, channels), pixels.dtype)
                images = np.moveaxis(stored, -1, 1)
            if pixels.dtype != images.dtype or pixels.shape != images.shape[1:]:
                kinds = {f"{one.dtype} {list(one.shape)}" for one in (pixels, images[0])}
                raise AblateError(
                    f"the images differ: {', '.join(sorted(kinds))}; bring them to one shape and"
                    " type"
                )
            images[index] = pixels
            labels.append(label)
        _refuse_random(dataset, images, labels)
        self.images[part], self.labels[part] = images, labels
        self.classes = self.classes or _class_names(dataset)

    def drop_a_val_that_is_another(self) -> None:
        """Drop validation images that equal those of another part.

        A class without validation images may read any word but train as test.
        """
        val = self.images.get("val")
        for part in ("train", "test"):
            other = self.images.get(part)
            if val is not None and other is not None and np.array_equal(val, other):
                del self.images["val"], self.labels["val"]
                self._room.drop("val")
                return


def _refuse_random(dataset: Any, images: Array, labels: Sequence[Any]) -> None:
    """Read some items again: runs on images that change could not be compared.

    Raises:
        AblateError: An item differs.
    """
    for index in np.unique(np.linspace(0, len(images) - 1, _TWICE).astype(int)).tolist():
        pixels, label = _item(index, dataset[index])
        same = np.array_equal(pixels, images[index])
        if not same or not np.array_equal(np.asarray(label), np.asarray(labels[index])):
            raise AblateError(
                f"item {index} differs when it is read again: remove what is random from"
                " __getitem__ and its transforms; augment.* shifts, crops and flips while training"
            )


def _class_names(dataset: Any) -> tuple[str, ...]:
    classes = getattr(dataset, "classes", None)
    return tuple(str(c) for c in classes) if isinstance(classes, list | tuple) else ()


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
    if pixels.ndim != 3 or _has_channels_last(pixels.shape):
        raise AblateError(
            f"image {index} has the shape {list(pixels.shape)}; [C, H, W] or [H, W] is needed"
        )
    if not np.isfinite(pixels).all():
        raise AblateError(f"image {index} holds values that are not finite")
    return pixels, item[1]


def _has_channels_last(shape: Sequence[int]) -> bool:
    """Tell whether a shape is certainly or most likely [H, W, C]."""
    first, middle, last = shape
    return last <= _FEW < first or last < first == middle


def _pixels(image: Any) -> Array:
    if hasattr(image, "getbands"):  # PIL puts channels last, and may have a palette
        pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        pixels = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels
    else:
        pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _read(root: Path, settings: Mapping[str, Any], room: Room) -> Source:
    arguments = {name: value for name, value in settings.items() if name not in _SETTINGS}
    own = locate(settings["_target_"], "data._target_", DATA_SET)
    return read(own, arguments, root, settings.get("labels") or "keep", room)


CUSTOM = Dataset(
    "custom", _read, None, settings=_SETTINGS, unpublished="it is your own data set", kept=True
)
