"""`cifar10` and `cifar100`: colour images of 32 × 32 pixels, pickled in batches.

Files are read in place in torchvision's layout, from the unpacked folder or the .tar.gz beside it.

Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.dataset import Dataset, File
from ablate.data.source import Array, Part, Source, content, damaged
from ablate.errors import AblateError


@dataclass(frozen=True)
class Layout:
    """Where a data set's files are, and the keys in its batches."""

    published: str  # torchvision's class
    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    names: str
    classes: int


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, lists and text only, so that a file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) == ("numpy", "_frombuffer"):  # protocol 5
            return _frombuffer
        if (module.split(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _files(layout: Layout, root: Path) -> list[Path]:
    """Find the batches, and the names of the classes if they are there; else the archive."""
    folder = root / layout.folder
    batches = [folder / file for file in (*layout.train, *layout.test)]
    if not all(path.is_file() for path in batches):
        return [root / layout.archive]
    meta = folder / layout.meta
    return [*batches, meta] if meta.is_file() else batches


def _read(layout: Layout, root: Path, settings: Mapping[str, Any]) -> Source:
    files = _Files(root, layout)
    parts = {
        "train": _join([_batch(files, file) for file in layout.train]),
        "test": _join([_batch(files, file) for file in layout.test]),
    }
    return Source(parts, _class_names(files))


def _published(layout: Layout) -> list[File]:
    """List the archive, and what it unpacks to."""
    from torchvision import datasets  # keeps addresses and checksums up to date; slow to import

    cls: Any = getattr(datasets, layout.published)
    unpacked = [*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])]
    return [
        File(layout.archive, cls.tgz_md5, (cls.url,)),
        *(File(f"{layout.folder}/{file}", md5) for file, md5 in unpacked),
    ]


class _Files:
    """The folder's files, from the folder if it is whole, else from the archive."""

    def __init__(self, root: Path, layout: Layout) -> None:
        self.layout = layout
        self.folder = root / layout.folder
        self.archive = root / layout.archive
        wanted = {*layout.train, *layout.test}
        self.packed: dict[str, bytes] | None = None
        if not all((self.folder / file).is_file() for file in wanted):
            self.packed = self._unpack({*wanted, layout.meta})

    def damaged(self, file: str, reason: str) -> AblateError:
        """Make the error that names what to delete: the file, or the archive that holds it."""
        if self.packed is not None:
            return damaged(self.archive, f"{file} in it: {reason}")
        return damaged(self.folder / file, reason)

    def content(self, file: str) -> bytes | None:
        if self.packed is not None:
            return self.packed.get(file)
        path = self.folder / file
        return content(path) if path.is_file() else None

    def _unpack(self, wanted: set[str]) -> dict[str, bytes]:
        import tarfile  # here, since it imports bz2 and lzma, which unpacked files do not need

        packed: dict[str, bytes] = {}
        raw = io.BytesIO(content(self.archive))
        try:
            with tarfile.open(fileobj=raw, mode="r:gz") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() else None
                    if file is not None and Path(member.name).name in wanted:
                        packed[Path(member.name).name] = file.read()
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise damaged(self.archive, f"it does not unpack ({error})") from error
        return packed


def _batch(files: _Files, file: str) -> Part:
    layout, batch = files.layout, _unpickled(files, file)
    if batch is None:
        raise files.damaged(file, "it is missing")
    try:
        pixels, labels = np.asarray(batch["data"]), np.asarray(batch[layout.labels])
        channels_last = pixels.shape[1:] == (32, 32, 3)  # some repackaged copies
        pixels = np.moveaxis(pixels, -1, 1) if channels_last else pixels
        if pixels.shape[1:] not in ((3072,), (3, 32, 32)):
            raise ValueError(f"its images have the shape {list(pixels.shape)}")
        images = np.ascontiguousarray(pixels).reshape(len(labels), 3, 32, 32)
    except (KeyError, TypeError, ValueError) as error:
        raise files.damaged(file, f"it is not a batch of CIFAR images ({error})") from error
    if pixels.dtype != np.uint8:
        raise files.damaged(file, f"its pixels are {pixels.dtype}, bytes expected")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not _in_range(labels, layout.classes):
        raise files.damaged(
            file, f"its labels are not whole numbers from 0 to {layout.classes - 1}"
        )
    return Part(images, labels.astype(np.int64))


def _in_range(labels: Array, classes: int) -> bool:
    return len(labels) > 0 and labels.min() >= 0 and labels.max() < classes


def _unpickled(files: _Files, file: str) -> Mapping[str, Any] | None:
    raw = files.content(file)
    if raw is None:
        return None
    try:
        found = _ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    # A cut-off pickle can raise nearly anything.
    except Exception as error:
        raise files.damaged(file, f"it does not unpickle ({error})") from error
    if not isinstance(found, dict):
        raise files.damaged(file, "it is not a batch of CIFAR images")
    return found


def _class_names(files: _Files) -> tuple[str, ...]:
    layout = files.layout
    names = (_unpickled(files, layout.meta) or {}).get(layout.names)
    if not isinstance(names, list) or len(names) != layout.classes:
        return tuple(str(label) for label in range(layout.classes))
    return tuple(str(name) for name in names)


def _join(parts: list[Part]) -> Part:
    return Part(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _dataset(name: str, layout: Layout) -> Dataset:
    return Dataset(
        name,
        partial(_read, layout),
        partial(_files, layout),
        published=partial(_published, layout),
    )


CIFAR10 = _dataset(
    "cifar10",
    Layout(
        published="CIFAR10",
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        labels="labels",
        names="label_names",
        classes=10,
    ),
)
CIFAR100 = _dataset(
    "cifar100",
    Layout(
        published="CIFAR100",
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        train=("train",),
        test=("test",),
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
        classes=100,
    ),
)
