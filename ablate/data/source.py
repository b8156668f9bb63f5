"""What every reader returns: images and labels as stored, with their digest.

Images are in memory, or in a file mapped into it. Such a file may be larger than memory, so it is
only read in blocks.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.errors import AblateError

Array = NDArray[Any]

_BLOCK = 2**25  # bytes of images to read at a time


@dataclass(frozen=True)
class Part:
    """Images of one part of a data set.

    Attributes:
        images: uint8 [M, C, H, W] (a user's own set may hold float32 instead).
        labels: int64 [N], from 0 to the number of classes - 1.
        content: uint8 [N, 16], a hash of each image, equal for equal images, for splits by content;
            None if splits do not go by content.
        mapped: Whether the images are in a file mapped into memory.
        rows: int64 [N], which of the M images belong to the part; None for all, in order.
    """

    images: Array
    labels: Array
    content: Array | None = None
    mapped: bool = False
    rows: Array | None = None

    def image(self, number: int) -> Array:
        """Return one image, [C, H, W], of the N."""
        return np.asarray(self.images[number if self.rows is None else self.rows[number]])

    def take(self, places: Array) -> Part:
        """Pick some images: a copy in memory, or row numbers in the mapped file.

        Args:
            places: int64 [n], which of the N.
        """
        content = None if self.content is None else self.content[places]
        if not self.mapped:
            return Part(self.images[places], self.labels[places], content)
        rows = places if self.rows is None else self.rows[places]
        return Part(self.images, self.labels[places], content, True, rows)


@dataclass(frozen=True)
class Source:
    """A data set as its files hold it.

    Attributes:
        parts: ``train``, and ``val`` and ``test`` if the files define them; each complete.
        classes: Names of the classes, in the order of their labels.
        notes: What the user should know about how they were read, a sentence each.
        digest: 16 hex digits of SHA-256 over all images and labels, however the files pack them;
            and over `Part.content`, if splits go by it. Computed if it is not given.
    """

    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", Digest(self.parts).finished())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.parts["train"].images.shape[1:]
        return channels, height, width


class Digest:
    """The digest of images, which may still be arriving.

    Args:
        parts: All parts, with room for all their images.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._sha, self._parts = hashlib.sha256(), parts
        self._ready = 0  # images, over all parts in the order of their names
        self._steps = self._walk(parts)

    def advance(self, ready: int) -> None:
        """Hash the images that have arrived.

        Args:
            ready: How many images are complete, counting parts in the order of their names.
        """
        self._ready = ready
        next(self._steps, None)

    def finished(self, parts: Mapping[str, Part] | None = None) -> str:
        """Hash all that is left, and return the digest, 16 hex digits.

        Args:
            parts: The parts with their content hashes; None: those given at first.
        """
        self._ready = sys.maxsize
        for _ in self._steps:
            pass
        for name, part in sorted((self._parts if parts is None else parts).items()):
            if part.content is not None:
                self._sha.update(f"{name} {part.content.dtype} {part.content.shape}".encode())
                self._sha.update(np.ascontiguousarray(part.content).data)
        return self._sha.hexdigest()[:16]

    def _walk(self, parts: Mapping[str, Part]) -> Iterator[None]:
        """Hash images and labels block by block; pause before a block that is not ready."""
        before = 0
        for name, part in sorted(parts.items()):
            for array in (part.images, part.labels):
                self._sha.update(f"{name} {array.dtype} {array.shape}".encode())
                for block in blocks(array):
                    while array is part.images and before + block.stop > self._ready:
                        yield
                    self._sha.update(np.ascontiguousarray(array[block]).data)
            before += len(part.labels)


def blocks(array: Array) -> Iterator[slice]:
    """Cut an array along its first axis into blocks of moderate size."""
    each = max(1, _BLOCK // max(1, array[:1].nbytes))
    for start in range(0, len(array), each):
        yield slice(start, min(start + each, len(array)))


def fingerprint(content: bytes | memoryview) -> bytes:
    """Hash an image's content: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(content, digest_size=16).digest()


def most_on_device(memory: int | None) -> int | None:
    """Return how much of a device's memory images may take; larger sets are fetched by batch.

    Args:
        memory: Its memory in bytes; None for no limit.
    """
    return None if memory is None else memory // 2


@contextmanager
def rights_told() -> Iterator[None]:
    """Name the file or folder if one may not be read.

    Raises:
        AblateError: The system refuses.
    """
    try:
        yield
    except PermissionError as error:
        raise AblateError(
            f"{error.filename} may not be read ({error.strerror}): check its permissions, and those"
            " of the folders above it"
        ) from error


def content(path: Path) -> bytes:
    """Read a file.

    Raises:
        AblateError: The system refuses; the file itself may be fine.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise AblateError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error


def damaged(path: Path, reason: str) -> AblateError:
    """Make the error for a damaged file that can be downloaded."""
    return AblateError(f"{path} is damaged: {reason}; delete it and it is downloaded again")
