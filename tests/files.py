"""Writes tiny data sets in the formats of the real ones, and says what it wrote.

Every image holds noise and one bright bar whose position gives the class, so a network can learn
it. Labels cycle: 0, 1, 2, ... . Nothing here uses ablate.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

Array = NDArray[Any]

MNIST_STEMS = {"train": "train", "test": "t10k"}
CIFAR_BATCHES = 5


class Written(NamedTuple):
    """What was written: images uint8 [N, C, H, W] and labels int64 [N]."""

    images: Array
    labels: Array


def draw(images: int, shape: tuple[int, int, int], classes: int, seed: int = 0) -> Written:
    """Draw `images` noisy images of `shape` whose bright bar gives the class."""
    channels, height, width = shape
    labels = np.arange(images, dtype=np.int64) % classes
    pixels = np.random.RandomState(seed).randint(0, 100, (images, *shape)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[label // height % channels, label % height, : width // 2] = 255
    return Written(pixels, labels)


def write_idx(path: Path, values: Array) -> None:
    """Write bytes in the idx format, compressed if the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_mnist(
    root: Path, images: int = 120, compressed: bool = True, folder: str = "MNIST"
) -> dict[str, Written]:
    """Write `images` training images and half as many test images, and return both parts.

    `folder` is MNIST, FashionMNIST or KMNIST.
    """
    ending = ".gz" if compressed else ""
    parts = _parts(images, (1, 28, 28), 10)
    for part, (pixels, labels) in parts.items():
        raw, stem = root / folder / "raw", MNIST_STEMS[part]
        write_idx(raw / f"{stem}-images-idx3-ubyte{ending}", pixels[:, 0])
        write_idx(raw / f"{stem}-labels-idx1-ubyte{ending}", labels)
    return parts


def write_cifar10(root: Path, images: int = 120, compressed: bool = False) -> dict[str, Written]:
    """Write `images` training images in five batches and half as many test images."""
    parts = _parts(images, (3, 32, 32), 10)
    batches = zip(
        np.array_split(parts["train"].images, CIFAR_BATCHES),
        np.array_split(parts["train"].labels, CIFAR_BATCHES),
        strict=True,
    )
    contents = {
        f"data_batch_{number}": _cifar_batch(pixels, labels, "labels")
        for number, (pixels, labels) in enumerate(batches, start=1)
    }
    contents["test_batch"] = _cifar_batch(*parts["test"], "labels")
    contents["batches.meta"] = {"label_names": [f"kind {label}" for label in range(10)]}
    _write_pickles(root, "cifar-10-batches-py", "cifar-10-python.tar.gz", contents, compressed)
    return parts


def write_cifar100(root: Path, images: int = 200, compressed: bool = False) -> dict[str, Written]:
    """Write `images` training images and half as many test images, of 100 classes."""
    parts = _parts(images, (3, 32, 32), 100)
    contents = {
        part: _cifar_batch(*written, "fine_labels")
        | {"coarse_labels": (written.labels // 5).tolist()}
        for part, written in parts.items()
    }
    contents["meta"] = {"fine_label_names": [f"kind {label}" for label in range(100)]}
    _write_pickles(root, "cifar-100-python", "cifar-100-python.tar.gz", contents, compressed)
    return parts


def write_svhn(root: Path, images: int = 120) -> dict[str, Written]:
    """Write `images` training images and half as many test images; zero is stored as ten."""
    root.mkdir(parents=True, exist_ok=True)
    parts = _parts(images, (3, 32, 32), 10)
    for part, (pixels, labels) in parts.items():
        stored = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        content = {"X": np.transpose(pixels, (2, 3, 1, 0)), "y": stored}
        savemat(root / f"{part}_32x32.mat", content, do_compression=True)
    return parts


def write_folder(
    root: Path,
    images: int = 30,
    classes: tuple[str, ...] = ("cats", "dogs", "eels"),
    shape: tuple[int, int, int] = (3, 8, 8),
    parts: tuple[str, ...] = (),
) -> dict[str, Written]:
    """Write PNG images in a folder per class, and with `parts` in a folder per part above those.

    Returns:
        By part (or under ``train``): images in the order of their paths, all of a class together.
    """
    written = {}
    for seed, part in enumerate(parts or ("train",)):
        drawn = draw(images, shape, len(classes), seed)
        directory = root / part if parts else root
        for number, (pixels, label) in enumerate(zip(*drawn, strict=True)):
            write_image(directory / classes[label] / f"{number:04}.png", pixels)
        order = np.argsort(drawn.labels, kind="stable")
        written[part] = Written(drawn.images[order], drawn.labels[order])
    return written


def write_image(path: Path, pixels: Array) -> None:
    """Write uint8 [1 or 3, H, W] in the format given by the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(path)


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """List everything below a directory with size and time of change, to compare later."""
    states = {path: path.stat() for path in sorted(root.rglob("*"))}
    return {
        str(path.relative_to(root)): (state.st_size, state.st_mtime_ns)
        for path, state in states.items()
    }


def _parts(images: int, shape: tuple[int, int, int], classes: int) -> dict[str, Written]:
    return {
        "train": draw(images, shape, classes, seed=0),
        "test": draw(images // 2, shape, classes, seed=1),
    }


def _cifar_batch(pixels: Array, labels: Array, key: str) -> dict[str, Any]:
    return {"data": pixels.reshape(len(labels), -1), key: labels.tolist()}


def _write_pickles(
    root: Path,
    folder: str,
    archive: str,
    contents: dict[str, Any],
    compressed: bool,
    protocol: int = 2,  # as in the published files
) -> None:
    raw = {name: pickle.dumps(content, protocol) for name, content in contents.items()}
    if not compressed:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, data in raw.items():
            (root / folder / name).write_bytes(data)
        return
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / archive, "w:gz") as tar:
        for name, data in raw.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
