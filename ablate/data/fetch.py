"""Downloads the shipped data sets and verifies them, whole or not at all.

Addresses and checksums are torchvision's. Files come into a temporary folder beside their place and
are moved there when every one of them has the right checksum.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.data import cifar, idx, svhn
from ablate.errors import AblateError

_PATIENCE = 30.0  # seconds without a byte until a server counts as silent


class DownloadError(AblateError):
    """A data set is not there and could not be fetched."""


@dataclass(frozen=True)
class File:
    """One file to fetch: its addresses, its place below the root, its MD5 checksum."""

    urls: tuple[str, ...]
    place: str
    md5: str


def files(name: str) -> tuple[File, ...]:
    """List what a data set is made of."""
    from torchvision import datasets

    if name in idx.FOLDERS:
        cls: Any = getattr(datasets, idx.FOLDERS[name])
        folder = f"{idx.FOLDERS[name]}/raw"
        return tuple(
            File(tuple(f"{mirror}{file}" for mirror in cls.mirrors), f"{folder}/{file}", md5)
            for file, md5 in cls.resources
        )
    if name in cifar.LAYOUTS:
        cls = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
        return (File((cls.url,), cls.filename, cls.tgz_md5),)
    split_list = datasets.SVHN.split_list
    return tuple(
        File((split_list[part][0],), split_list[part][1], split_list[part][2])
        for part in svhn.FILES
    )


def download(name: str, root: Path) -> None:
    """Fetch a data set into its root, with a progress bar, and verify every file.

    Raises:
        DownloadError: A file could not be fetched or is not what it should be; nothing is kept.
    """
    from torchvision.datasets.utils import download_url

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as folder, _timeout():
            for file in files(name):
                _first_that_works(download_url, file, Path(folder))
            for file in files(name):
                place = root / file.place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(folder) / Path(file.place).name, place)
    except (OSError, RuntimeError, ValueError) as error:
        raise DownloadError(
            f"data={name} is not in {root} and could not be downloaded ({error}); with a network,"
            f" `ablate data {name}` fetches it; without one, lay its files there, or name their"
            " place with data.root=DIR or the environment variable ABLATE_DATA"
        ) from error


def _first_that_works(download_url: Any, file: File, folder: Path) -> None:
    for position, url in enumerate(file.urls):
        try:
            download_url(url, str(folder), filename=Path(file.place).name, md5=file.md5)
            return
        except (OSError, RuntimeError, ValueError):
            if position == len(file.urls) - 1:
                raise


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def checksums(name: str, root: Path) -> dict[Path, bool]:
    """Compare the files that lie below a root with their published checksums.

    Returns:
        For each file with a published checksum that is there: whether it agrees. (An unpacked idx
        file has none; reading it checks its form.)
    """
    from torchvision import datasets
    from torchvision.datasets.utils import check_md5

    known = {root / file.place: file.md5 for file in files(name)}
    if name in cifar.LAYOUTS:
        cls: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
        folder = root / cls.base_folder
        known |= {folder / file: md5 for file, md5 in [*cls.train_list, *cls.test_list]}
    return {path: check_md5(path, md5) for path, md5 in known.items() if path.is_file()}
