"""`npz`: arrays of images and labels in a .npz file of numpy.

    train_images, train_labels, val_images, ..., test_labels     as MedMNIST has them
    x_train, y_train, x_test, y_test                             as Keras has them
    images, labels; or x, y                                      one set, split 60/20/20

`data.root` names the file, or a folder with one such file. Images are [N, H, W], [N, H, W, C] or
[N, C, H, W]: uint8, or other numbers, which are stored as float32. Arrays are read block by block,
so they may be larger than memory. Arrays of Python objects are refused, as they could run code.

Source: Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41 (the names).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.dataset import Dataset
from ablate.data.image_cache import Room
from ablate.data.labels import numbered
from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

_IMAGES = ("images", "image", "x", "data", "imgs")
_LABELS = ("labels", "label", "y", "targets", "target")
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_AS_COLOURS = (1, 3, 4)
_BLOCK = 2**25  # bytes
_WANTED = (
    "data=npz takes train_images, train_labels, test_images, ... (or x_train, y_train, x_test, ...;"
    " or images and labels)"
)


def _file(root: Path) -> Path:
    if not root.is_dir():
        return root
    found = sorted(root.glob("*.npz"))
    if len(found) != 1:
        what = ", ".join(path.name for path in found[:5]) or "no .npz file"
        raise AblateError(f"data.root={root} holds {what}: data.root names the one .npz file")
    return found[0]


def _files(root: Path) -> list[Path]:
    return [_file(root)]


@dataclass(frozen=True)
class _Header:
    """The header of an array."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _read(root: Path, settings: Mapping[str, Any], room: Room) -> Source:
    path = _file(root)
    if not path.is_file():
        raise AblateError(f"data.root={path} does not exist: data=npz takes a .npz file of numpy")
    with path.open("rb") as file:
        file.read(1)  # raises the system's own error if it may not be read
    try:
        with zipfile.ZipFile(path) as packed:
            return _source(path, packed, settings, room)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise AblateError(f"{path} is a damaged .npz file ({error}): get it again") from error


def _source(path: Path, packed: zipfile.ZipFile, settings: Mapping[str, Any], room: Room) -> Source:
    keys = [name.removesuffix(".npy") for name in packed.namelist() if name.endswith(".npy")]
    pairs = _pairs(path, keys)
    labels = {part: _labels(path, packed, pair[1]) for part, pair in pairs.items()}
    heads = {part: _header(path, packed, pair[0]) for part, pair in pairs.items()}
    _refuse_unlike(path, heads, labels)
    try:
        numbers, classes, notes = numbered(labels, (), settings.get("labels") or "keep")
    except AblateError as error:
        raise AblateError(*(f"{path}: {fault}" for fault in error.faults)) from error
    parts = {
        part: Part(_images(path, packed, heads[part], part, room), numbers[part]) for part in heads
    }
    return Source(parts, classes, tuple(notes))


def _pairs(path: Path, keys: list[str]) -> dict[str, tuple[str, str]]:
    """Find the arrays of each part: images and labels."""
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        words = re.split(r"[_\W]+", key.lower())
        part = next((_PARTS[word] for word in words if word in _PARTS), "")
        rest = [word for word in words if word and word not in _PARTS]
        kind = "images" if rest and rest[-1] in _IMAGES else "labels"
        if rest and rest[-1] in (*_IMAGES, *_LABELS):
            found.setdefault(part, {})[kind] = key
    whole = {part: each for part, each in found.items() if len(each) == 2}
    if "" in whole and len(whole) == 1:
        whole = {"train": whole[""]}
    if "train" not in whole or "" in whole:
        raise AblateError(f"{path} holds the arrays {', '.join(keys) or '(none)'}: {_WANTED}")
    return {part: (each["images"], each["labels"]) for part, each in whole.items()}


def _labels(path: Path, packed: zipfile.ZipFile, key: str) -> list[Any]:
    found = _header(path, packed, key)
    values = np.concatenate(list(_blocks(packed, found))) if found.shape[0] else np.empty(0)
    if values.ndim == 2 and values.shape[1] == 1:  # as MedMNIST has them
        values = values[:, 0]
    return list(values) if values.ndim > 1 else list(values.tolist())


def _header(path: Path, packed: zipfile.ZipFile, key: str) -> _Header:
    with packed.open(f"{key}.npy") as stream:
        try:
            shape, fortran, dtype = _read_header(stream)
        except ValueError as error:
            raise AblateError(f"{path}: the array {key} cannot be read ({error})") from error
    if dtype.hasobject:
        raise AblateError(
            f"{path}: the array {key} holds Python objects, which may run code when loaded:"
            " save it as numbers"
        )
    if fortran and len(shape) > 1:
        raise AblateError(
            f"{path}: the array {key} is in Fortran order: convert it with np.ascontiguousarray"
        )
    if not shape:
        raise AblateError(f"{path}: the array {key} is a single value")
    return _Header(key, shape, dtype)


def _read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(stream)
    return tuple(shape), bool(fortran), dtype


def _blocks(packed: zipfile.ZipFile, found: _Header) -> Iterator[Array]:
    """Read an array block by block along its first axis."""
    each = prod(found.shape[1:]) * found.dtype.itemsize
    most = max(1, _BLOCK // max(1, each))
    with packed.open(f"{found.key}.npy") as stream:
        _read_header(stream)
        for start in range(0, found.shape[0], most):
            count = min(most, found.shape[0] - start)
            raw = stream.read(count * each)
            if len(raw) < count * each:
                raise EOFError(f"the array {found.key} is cut off")
            yield np.frombuffer(raw, found.dtype).reshape(count, *found.shape[1:])


def _refuse_unlike(
    path: Path, heads: Mapping[str, _Header], labels: Mapping[str, list[Any]]
) -> None:
    for part, head in heads.items():
        if head.dtype.kind not in "buif":
            raise AblateError(f"{path}: {head.key} holds {head.dtype}, but numbers are needed")
        if head.shape[0] != len(labels[part]):
            raise AblateError(
                f"{path}: there are {len(labels[part])} labels for the {head.shape[0]} images of"
                f" {head.key}"
            )
        if 0 in head.shape:
            raise AblateError(f"{path}: {head.key} is empty")
    kinds = {f"{head.dtype} {list(head.shape[1:])}" for head in heads.values()}
    if len(kinds) > 1:
        raise AblateError(f"{path}: images differ between splits: {', '.join(sorted(kinds))}")


def _images(path: Path, packed: zipfile.ZipFile, head: _Header, part: str, room: Room) -> Array:
    axes = _axes(path, head)
    sizes = [head.shape[axis] if axis is not None else 1 for axis in axes]
    dtype = np.uint8 if head.dtype == np.uint8 else np.float32
    found = room.images(part, (head.shape[0], *sizes), dtype)
    order = [axis for axis in axes if axis is not None]
    start = 0
    for block in _blocks(packed, head):
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            raise AblateError(f"{path}: {head.key} holds values that are not finite")
        moved = block.transpose(0, *order).reshape(len(block), *sizes)
        found[start : start + len(block)] = moved
        start += len(block)
    return np.moveaxis(found, -1, 1)


def _axes(path: Path, head: _Header) -> tuple[int, int, int | None]:
    """Tell which axes are height, width and channels; None if there is no axis of channels."""
    sizes = head.shape[1:]
    if len(sizes) == 2:
        return 1, 2, None
    if len(sizes) == 3:
        first, middle, last = sizes
        if last in _AS_COLOURS or last < min(first, middle):
            return 1, 2, 3
        if first in _AS_COLOURS or first < min(middle, last):
            return 2, 3, 1
    raise AblateError(
        f"{path}: {head.key} has the shape {list(head.shape)}, but images must be [N, H, W],"
        " [N, H, W, C] or [N, C, H, W], with fewer channels than pixels on a side"
    )


NPZ = Dataset(
    "npz", _read, _files, settings=("labels",), unpublished="it is your own data set", kept=True
)
