"""`cifar10` and `cifar100`: colour images of 32 × 32 pixels, pickled in batches.

Files are read in place in torchvision's layout, from the unpacked folder or the .tar.gz beside it.

Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.source import Part, Source
from ablate.errors import AblateError


@dataclass(frozen=True)
class Layout:
    """Where a set lies and how its batches name things."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    names: str
    classes: int


LAYOUTS = {
    "cifar10": Layout(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        labels="labels",
        names="label_names",
        classes=10,
    ),
    "cifar100": Layout(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        train=("train",),
        test=("test",),
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
        classes=100,
    ),
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, lists and text, and runs nothing else that a file may ask for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.split(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def present(name: str, root: Path) -> bool:
    """Tell whether the set is there, unpacked or as an archive."""
    layout = LAYOUTS[name]
    folder = root / layout.folder
    unpacked = all((folder / file).is_file() for file in (*layout.train, *layout.test))
    return unpacked or (root / layout.archive).is_file()


def read(name: str, root: Path) -> Source:
    """Read all batches of a set.

    Raises:
        AblateError: A file is damaged; it is named.
    """
    layout = LAYOUTS[name]
    files = _Files(root, layout)
    parts = {
        "train": _join([_batch(files, file) for file in layout.train]),
        "test": _join([_batch(files, file) for file in layout.test]),
    }
    return Source(parts, _class_names(files))


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

    def path(self, file: str) -> Path:
        return self.archive / file if self.packed is not None else self.folder / file

    def content(self, file: str) -> bytes | None:
        if self.packed is not None:
            return self.packed.get(file)
        path = self.folder / file
        return path.read_bytes() if path.is_file() else None

    def _unpack(self, wanted: set[str]) -> dict[str, bytes]:
        packed: dict[str, bytes] = {}
        try:
            with tarfile.open(self.archive) as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() else None
                    if file is not None and Path(member.name).name in wanted:
                        packed[Path(member.name).name] = file.read()
        except (OSError, EOFError, tarfile.TarError) as error:
            raise _damaged(self.archive, str(error)) from error
        return packed


def _batch(files: _Files, file: str) -> Part:
    path, raw, layout = files.path(file), files.content(file), files.layout
    if raw is None:
        raise _damaged(path, "it is missing")
    content = _unpickled(path, raw)
    try:
        pixels = np.asarray(content["data"], np.uint8)
        labels = np.asarray(content[layout.labels], np.int64)
        images = pixels.reshape(len(labels), 3, 32, 32)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"it is no batch of CIFAR images ({error})") from error
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= layout.classes:
        raise _damaged(path, f"its labels are not from 0 to {layout.classes - 1}")
    return Part(images, labels)


def _unpickled(path: Path, raw: bytes) -> Mapping[str, Any]:
    try:
        content = _ArraysOnly(io.BytesIO(raw), encoding="latin1").load()
    # A cut-off pickle can raise nearly anything.
    except Exception as error:
        raise _damaged(path, f"it does not unpickle ({error})") from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is no batch of CIFAR images")
    return content


def _class_names(files: _Files) -> tuple[str, ...]:
    layout, raw = files.layout, files.content(files.layout.meta)
    names = () if raw is None else _unpickled(files.path(layout.meta), raw).get(layout.names, ())
    if len(names) != layout.classes:
        return tuple(str(label) for label in range(layout.classes))
    return tuple(str(name) for name in names)


def _join(parts: list[Part]) -> Part:
    return Part(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _damaged(path: Path, reason: str) -> AblateError:
    return AblateError(f"{path} is damaged: {reason}; delete it and it is fetched anew")
