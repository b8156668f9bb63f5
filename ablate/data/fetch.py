"""Downloads the shipped data sets and verifies them, whole or not at all.

Addresses and checksums are torchvision's. Only missing files are fetched: into a temporary folder
beside their place, and they are moved when all have the right checksum.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path

from ablate.data.dataset import Dataset, File
from ablate.data.places import unfinished
from ablate.errors import FULL, AblateError

_PATIENCE = 30.0  # seconds without a byte until a server counts as silent


class DownloadError(AblateError):
    """A data set is not there and could not be fetched."""

    status = 1


def download(dataset: Dataset, root: Path) -> None:
    """Fetch what is missing of a data set into its root, with a progress bar, and verify it.

    Raises:
        DownloadError: A file could not be fetched or is not what it should be; nothing is kept.
    """
    missing = dataset.missing(root)
    files = [file for file in _published(dataset) if root / file.place in missing]
    place = missing[0].parent if missing else root
    try:
        with (
            _directory(place),
            _draft(place) as folder,
            _timeout(),
        ):
            for file in files:
                _first_that_works(file, folder)
            for file in files:
                if (root / file.place).exists():
                    continue  # another process put it there meanwhile
                os.replace(folder / Path(file.place).name, root / file.place)
    except _failures() as error:
        wanted = ", ".join(path.name for path in missing)
        if isinstance(error, OSError) and (reason := _of_the_disk(error)):
            raise DownloadError(
                f"data={dataset.name} needs {wanted} in {place}, but {reason}; or name another"
                " place with data.root=DIR or the environment variable ABLATE_DATA"
            ) from error
        raise DownloadError(
            f"data={dataset.name} needs {wanted} in {place}, and the download failed ({error});"
            f" with a network, `ablate data {dataset.name}` fetches it; without one, put the files"
            " there, or name another place with data.root=DIR or the environment variable"
            " ABLATE_DATA"
        ) from error


def _of_the_disk(error: OSError) -> str:
    """Say what is wrong with the disk or the folder; empty if that is not the cause."""
    if error.errno in FULL:
        return "the disk is full: make room there"
    if isinstance(error, PermissionError):
        return f"it may not be written ({error.strerror}): check the folder's permissions"
    return ""


def _failures() -> tuple[type[Exception], ...]:
    """List what torchvision and urllib raise."""
    from http.client import HTTPException  # slow to import, and planning imports this module

    return OSError, RuntimeError, ValueError, HTTPException


def _published(dataset: Dataset) -> list[File]:
    assert dataset.published is not None, "what cannot be fetched is never missing"
    return list(dataset.published())


def _first_that_works(file: File, folder: Path) -> None:
    from torchvision.datasets.utils import download_url

    reasons = []
    for url in file.urls:
        print(f"ablate: fetching {url}", file=sys.stderr)
        try:
            with _bars_on_a_terminal_only():
                download_url(url, str(folder), filename=Path(file.place).name, md5=file.md5)
            return
        except _failures() as error:
            reasons.append(f"{url}: {error}")
    raise RuntimeError("; ".join(reasons))


def _bars_on_a_terminal_only() -> redirect_stderr[io.StringIO] | nullcontext[None]:
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


@contextmanager
def _directory(path: Path) -> Iterator[None]:
    """Make a directory and its parents, and remove those that stay empty."""
    made = [above for above in (path, *path.parents) if not above.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for directory in made:
            if not any(directory.iterdir()):
                directory.rmdir()


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """Make a folder for files during the download; it is deleted at the end."""
    folder = unfinished(place, ".fetch-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def checksums(dataset: Dataset, root: Path) -> dict[Path, bool]:
    """Compare the files below a root with their published checksums.

    Returns:
        For each file that exists and has a published checksum: whether they agree. For an unpacked
        idx file, which has none: whether it equals the contents of the packed file beside it.
    """
    from torchvision.datasets.utils import check_md5

    known = {root / file.place: file.md5 for file in _published(dataset)}
    found = {path: check_md5(path, md5) for path, md5 in known.items() if path.is_file()}
    for path in unverified(dataset, root):
        packed = path.with_name(f"{path.name}.gz")
        if found.get(packed):
            found[path] = gzip.decompress(packed.read_bytes()) == path.read_bytes()
    return found


def unverified(dataset: Dataset, root: Path) -> list[Path]:
    """List the files to read that have no published checksum: unpacked idx files."""
    assert dataset.files is not None, "files of published sets are known"
    known = {root / file.place for file in _published(dataset)}
    return [path for path in dataset.files(root) if path not in known]
