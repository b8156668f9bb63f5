"""Downloads the shipped data sets and verifies them, whole or not at all.

Addresses and checksums are torchvision's. Only what is missing is fetched: into a temporary folder
beside its place, and it is moved there when all of it has the right checksum.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ablate.data import cifar, idx, svhn
from ablate.errors import AblateError

_FAILURES = (OSError, RuntimeError, ValueError, HTTPException)  # of torchvision and of urllib
_PATIENCE = 30.0  # seconds without a byte until a server counts as silent


class DownloadError(AblateError):
    """A data set is not there and could not be fetched."""

    status = 1


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
    """Fetch what is missing of a data set into its root, with a progress bar, and verify it.

    Raises:
        DownloadError: A file could not be fetched or is not what it should be; nothing is kept.
    """
    missing = [file for file in files(name) if not _there(name, root, file)]
    place = (root / missing[0].place).parent if missing else root
    try:
        with (
            _directory(place),
            tempfile.TemporaryDirectory(prefix=".fetch-", dir=place) as folder,
            _timeout(),
        ):
            for file in missing:
                _first_that_works(file, Path(folder))
            for file in missing:
                if (root / file.place).exists():
                    continue  # somebody laid it there meanwhile
                os.replace(Path(folder) / Path(file.place).name, root / file.place)
    except _FAILURES as error:
        wanted = ", ".join(Path(file.place).name for file in missing)
        raise DownloadError(
            f"data={name} needs {wanted} in {place}, and the download failed ({error}); with a"
            f" network, `ablate data {name}` fetches it; without one, lay the files there, or name"
            " another place with data.root=DIR or the environment variable ABLATE_DATA"
        ) from error


def _there(name: str, root: Path, file: File) -> bool:
    if name in idx.FOLDERS:
        return idx.find(name, root, Path(file.place).name.removesuffix(".gz")) is not None
    return (root / file.place).is_file()


def _first_that_works(file: File, folder: Path) -> None:
    from torchvision.datasets.utils import download_url

    reasons = []
    for url in file.urls:
        print(f"ablate: fetching {url}", file=sys.stderr)
        try:
            with _bars_on_a_terminal_only():
                download_url(url, str(folder), filename=Path(file.place).name, md5=file.md5)
            return
        except _FAILURES as error:
            reasons.append(f"{url}: {error}")
    raise RuntimeError("; ".join(reasons))


def _bars_on_a_terminal_only() -> redirect_stderr[io.StringIO] | nullcontext[None]:
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


@contextmanager
def _directory(path: Path) -> Iterator[None]:
    """Make a directory, and take away again what stays empty of it."""
    made = [above for above in (path, *path.parents) if not above.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for directory in made:
            if not any(directory.iterdir()):
                directory.rmdir()


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
        listed = [*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])]
        known |= {folder / file: md5 for file, md5 in listed}
    return {path: check_md5(path, md5) for path, md5 in known.items() if path.is_file()}
