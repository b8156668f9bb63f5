"""What every reader returns: images and labels in memory, as they are stored, with their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.errors import AblateError

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Images of one part of a data set.

    Attributes:
        images: uint8 [N, C, H, W] (a user's own set may hold float32 instead).
        labels: int64 [N], from 0 to the number of classes - 1.
        content: uint8 [N, 16], a hash of what each image's file holds, the same for images that are
            equal, by which splits go; None where they do not.
    """

    images: Array
    labels: Array
    content: Array | None = None


@dataclass(frozen=True)
class Source:
    """A data set as it lies in its files.

    Attributes:
        parts: ``train``, and ``val`` and ``test`` where the files fix them.
        classes: Names of the classes, in the order of their labels.
        notes: What the user should know of how they were read, a sentence each.
    """

    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.parts["train"].images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """16 hex digits of SHA-256 over all images and labels, however the files pack them.

        Where splits go by content (`Part.content`), that is part of it, since it decides them.
        """
        sha = hashlib.sha256()
        for name, part in sorted(self.parts.items()):
            given = () if part.content is None else (part.content,)
            for array in (part.images, part.labels, *given):
                sha.update(f"{name} {array.dtype} {array.shape}".encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()[:16]


def content(path: Path) -> bytes:
    """Read a file.

    Raises:
        AblateError: The system refuses; the file may be sound.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise AblateError(f"{path} cannot be read ({error.strerror}); see to its rights") from error


def damaged(path: Path, reason: str) -> AblateError:
    """Make the error that names a damaged file of a data set that can be fetched."""
    return AblateError(f"{path} is damaged: {reason}; delete it and it is fetched anew")
