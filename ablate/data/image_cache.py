"""Keeps decoded images on disk, for every process that trains on them.

Decoding a folder takes minutes, and each worker would keep its own copy. So images are decoded once
into files in the user's cache folder, which all processes map into memory: they share one copy, and
images that do not fit into memory are read when needed.

    images/<digest>/parts.json           the names of the parts
    images/<digest>/<part>.images.npy    [N, H, W, C]: channels last, as training wants them
    images/<digest>/<part>.labels.npy
    images/<digest>/<part>.content.npy   `Part.content`, if splits go by it
    images/.read/<selection>.json        what was last read from some files, and their states then
    images/.read/<selection>.lock        held by the process that decodes them

If the cache would exceed `data.cache_gb`, the least recently used images are deleted. On Linux, a
process that still uses them keeps its mapping. The whole cache may be deleted at any time.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.file_state import FileState
from ablate.data.places import unfinished, user_cache
from ablate.data.source import Array, Part, Source, blocks
from ablate.errors import FULL, AblateError

GB = 10**9
_STATES = ".read"
_UNFINISHED = ".unfinished-"


class Room:
    """Room for the images of a data set: in a new folder of the cache, or else in memory.

    Args:
        limit: The most bytes that the cache may take; 0 for memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._folder: Path | None = None
        self._taken = 0
        if limit:
            with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
                _home().mkdir(parents=True, exist_ok=True)
                self._folder = unfinished(_home(), _UNFINISHED)

    @property
    def mapped(self) -> bool:
        """Whether the images lie in files."""
        return self._folder is not None

    def images(self, part: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> Array:
        """Make room for the images of a part.

        Args:
            part: Its name.
            shape: Images, height, width, channels.
            dtype: uint8 or float32.

        Returns:
            An array to fill, [N, H, W, C].

        Raises:
            AblateError: There is not enough room.
        """
        if self._folder is None:
            return np.empty(shape, dtype)
        wanted = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self._taken += wanted
        self._require(self._taken)
        path = self._folder / f"{part}.images.npy"
        # Writing to a sparse map on a full disk would kill the process, so claim the space below.
        found = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        try:
            _claim_space(path)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise AblateError(
                f"there is no room on the disk for the decoded images ({wanted / GB:,.1f} GB in"
                f" {_home()}): empty that folder with `ablate data --clear-cache`, name another"
                " with XDG_CACHE_HOME, or let each process keep its own copy in memory with"
                " data.cache_gb=0"
            ) from error
        return found

    def _require(self, wanted: int) -> None:
        if wanted > self._limit:
            raise AblateError(
                f"decoded, the images take {wanted / GB:,.1f} GB, more than"
                f" data.cache_gb={self._limit // GB} allows in {_home()}: raise it, or use"
                " smaller images (data.image_size)"
            )
        for old in _by_last_use():
            if _size(_home()) - self._present() + wanted <= self._limit:
                return
            shutil.rmtree(old, ignore_errors=True)

    def _present(self) -> int:
        return 0 if self._folder is None else _size(self._folder)

    def only(self, part: str, images: Array, rows: Array) -> Array:
        """Keep only some images of a part.

        Args:
            part: Its name.
            images: What `images` returned for it.
            rows: Which, int64 [n].
        """
        if self._folder is None:
            return images[rows]
        path = self._folder / f"{part}.images.npy"
        shape = (len(rows), *images.shape[1:])
        draft = path.with_suffix(".part")
        found = np.lib.format.open_memmap(draft, mode="w+", dtype=images.dtype, shape=shape)
        for block in blocks(found):
            found[block] = images[rows[block]]
        os.replace(draft, path)
        return found

    def drop(self, part: str) -> None:
        """Give up the room of a part."""
        if self._folder is not None:
            (self._folder / f"{part}.images.npy").unlink(missing_ok=True)

    def clear(self) -> None:
        """Drop its contents, to start again."""
        self._taken = 0
        if self._folder is not None:
            for file in self._folder.iterdir():
                file.unlink()

    def keep(self, source: Source) -> Source:
        """Keep a data set whose images are in this room, and return it mapped from the cache."""
        if self._folder is None:
            return source
        for name, part in source.parts.items():
            np.save(self._folder / f"{name}.labels.npy", part.labels)
            if part.content is not None:
                np.save(self._folder / f"{name}.content.npy", part.content)
        names = json.dumps(list(source.parts))
        (self._folder / "parts.json").write_text(names, encoding="utf-8")
        place, known = _home() / source.digest, (source.digest, source.classes, source.notes)
        if place.exists() and opened(*known) is None:
            shutil.rmtree(place, ignore_errors=True)  # damaged
        with suppress(OSError):  # another process has put the same images there
            os.replace(self._folder, place)
        return opened(*known) or source

    def close(self) -> None:
        """Delete everything that was not kept."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _claim_space(path: Path) -> None:
    if not hasattr(os, "posix_fallocate"):
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


@contextmanager
def room(limit: int) -> Iterator[Room]:
    """Make room for a data set; it is deleted at the end unless kept."""
    made = Room(limit)
    try:
        yield made
    finally:
        made.close()


def opened(digest: str, classes: tuple[str, ...], notes: tuple[str, ...] = ()) -> Source | None:
    """Map a data set into memory; None if it is not in the cache, or incomplete.

    Args:
        digest: Its digest.
        classes: Names of its classes, which are not part of the digest.
        notes: `Source.notes`.
    """
    try:
        place = _home() / digest
        names = json.loads((place / "parts.json").read_text(encoding="utf-8"))
        parts = {name: _part(place, name) for name in names}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):
        os.utime(place)
    return Source(parts, classes, notes, digest)


def _part(place: Path, name: str) -> Part:
    # Copy on write, since torch warns about read-only arrays.
    images = np.load(place / f"{name}.images.npy", mmap_mode="c", allow_pickle=False)
    labels = np.load(place / f"{name}.labels.npy", allow_pickle=False)
    if images.ndim != 4 or len(images) != len(labels):
        raise ValueError("the images are damaged")
    path = place / f"{name}.content.npy"
    content = np.load(path, allow_pickle=False) if path.exists() else None
    return Part(np.moveaxis(images, -1, 1), labels, content, mapped=True)


# -- what was read from which files ----------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """What was last read from some files.

    Attributes:
        digest: The digest of the images.
        classes: Names of the classes.
        notes: `Source.notes`.
        state: The state of the files just before reading; None if they are not known.
    """

    digest: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    state: FileState | None

    @property
    def source(self) -> Source | None:
        """The data set, mapped into memory; None if it is no longer in the cache."""
        return opened(self.digest, self.classes, self.notes)


def noted(selection: str) -> Note | None:
    """Look up what was last read from some files; None if it is not known.

    Args:
        selection: A name for the files and every setting that decides what is read from them, safe
            as a file name.
    """
    try:
        found = json.loads(_note(selection).read_text(encoding="utf-8"))
        state = None if found["state"] is None else FileState(**found["state"])
        classes, notes = (tuple(map(str, found[name])) for name in ("classes", "notes"))
        return Note(str(found["digest"]), classes, notes, state)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return None


def note(selection: str, source: Source, state: FileState | None) -> None:
    """Write down what was read from some files."""
    from ablate.record import replacing  # here, since most commands only look facts up

    # ASCII: the name of a file may not be valid Unicode.
    told = {
        "digest": source.digest,
        "classes": source.classes,
        "notes": source.notes,
        "state": None if state is None else vars(state),
    }
    text = json.dumps(told)
    with suppress(OSError, RuntimeError):
        _note(selection).parent.mkdir(parents=True, exist_ok=True)
        with replacing(_note(selection)) as file:
            file.write(text.encode())


@contextmanager
def held(selection: str) -> Iterator[None]:
    """Let one process at a time decode the same files; others wait, and find them decoded."""
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        # Without locks, each process decodes for itself.
        with suppress(OSError, RuntimeError, NotImplementedError):
            path = _note(selection).with_suffix(".lock")
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(path).acquire(timeout=0))
            except Timeout:
                print("waiting for another process that decodes these images", file=sys.stderr)
                stack.enter_context(FileLock(path).acquire())
        yield


def _note(selection: str) -> Path:
    return _home() / _STATES / f"{selection}.json"


# -- all of it -------------------------------------------------------------------------------------


def clear() -> tuple[Path, int]:
    """Delete everything that is kept.

    Returns:
        The folder, and how many bytes were in it.

    Raises:
        OSError: Something in it cannot be deleted.
    """
    place = _home()
    size = _size(place)
    if place.exists():
        shutil.rmtree(place)
    return place, size


def _home() -> Path:
    return user_cache() / "images"


def _by_last_use() -> list[Path]:
    found = [(path.stat().st_mtime, path) for path in _home().iterdir() if _is_kept(path)]
    return [path for _, path in sorted(found)]


def _is_kept(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.exists() else ():
        with suppress(OSError):  # it was deleted meanwhile
            total += path.stat().st_size
    return total
