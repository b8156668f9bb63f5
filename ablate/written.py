"""Keeps track of which files in a folder ablate wrote, and which belong to the user.

A command that writes files into a folder also writes a list there, ``<what>.files.json``, with a
digest of each file. A file that is not listed, or was edited since, belongs to the user: it is
never deleted or overwritten.
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ablate.errors import AblateError, raise_if_full

_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left by file managers
_OLD = 3600.0  # seconds; writing a report takes some of them
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def list_of(what: str) -> str:
    """Return the name of the list of files that a command wrote."""
    return f"{what}.files.json"


def add_list(folder: Path, what: str, more: Mapping[str, str] | None = None) -> None:
    """Write the list of all files in a folder that was just filled, and sync each file to disk.

    Args:
        folder: Their folder.
        what: What they are: ``report``, ``inspect``, ...
        more: File -> digest, for files to list that are elsewhere already.
    """
    found = dict(more or {})
    for file in _files(folder):
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
        found[file.relative_to(folder).as_posix()] = _digest(file)
    text = json.dumps({"files": dict(sorted(found.items()))}, indent=1, ensure_ascii=False)
    (folder / list_of(what)).write_text(f"{text}\n", encoding="utf-8")


def listed(folder: Path, what: str) -> dict[str, str] | None:
    """Read the list of a folder, file -> digest; None if it is missing or unreadable."""
    file = folder / list_of(what)
    if not file.is_file():  # opening a named pipe would wait for a writer
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def not_ours(folder: Path, what: str) -> list[str]:
    """List the user's files in a folder; files of ours that were edited are marked as such."""
    ours = listed(folder, what) or {}
    found = []
    for file in _files(folder):
        name = file.relative_to(folder).as_posix()
        if name == list_of(what) and ours:
            continue
        if not _is_listed(file, name, ours):
            found.append(f"{name} (edited since)" if name in ours else name)
    return found


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """Make an empty folder beside another one; delete it at the end, if it is still there.

    Old drafts from killed processes are deleted; recent ones stay, since another machine may be
    writing them.
    """
    for old in folder.parent.glob(f".{glob.escape(folder.name)}.*-*.part"):
        if old.is_dir() and time.time() - old.stat().st_mtime > _OLD:
            shutil.rmtree(old, ignore_errors=True)
    draft = beside(folder, "part")
    try:
        draft.mkdir(parents=True)
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def beside(folder: Path, kind: str) -> Path:
    """Return a hidden path next to a folder; no other process will pick the same one."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.{kind}")


def exchange(one: Path, other: Path) -> None:
    """Swap two folders: in one step if the system can, otherwise in three."""
    if _exchanged_at_once(one, other):
        return
    aside = beside(other, "old")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


def _exchanged_at_once(one: Path, other: Path) -> bool:
    """Swap with a system call of Linux, which is atomic: a kill never leaves a gap."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if platform.system() == "Linux" else None
    if call is None:
        return False
    done: int = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return done == 0


def require_folder(folder: Path) -> None:
    """Check that a folder can be written to, before anything slow starts.

    Raises:
        AblateError: A file is in the folder's place.
    """
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise AblateError(
            f"{folder} is a file, but results go into a folder of that name: move it away"
        )


def put(folder: Path, what: str, write: Callable[[Path], None]) -> None:
    """Write files into a folder, replacing those that the same command wrote there before.

    A user's file with the same name is kept, renamed to ``name.1.png``, ...

    Args:
        folder: Their folder; created if missing.
        what: What they are: ``evaluate``, ``inspect``, ...
        write: Writes the files into the empty folder that it is given.

    Raises:
        AblateError: The folder cannot be written.
        DiskFullError: There is no space left; the old files are still there.
    """
    require_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        with draft_of(place / what) as draft:
            write(draft)
            _move_in(draft, place, what)
    except OSError as error:
        raise_if_full(error)
        raise AblateError(f"{folder} cannot be written: {error}") from error


def _move_in(draft: Path, place: Path, what: str) -> None:
    ours = listed(place, what) or {}
    names = [file.relative_to(draft).as_posix() for file in _files(draft)]
    for name in names:
        if (place / name).is_dir() or not _is_listed(place / name, name, ours):
            set_aside(place / name)
    kept = {name: digest for name, digest in ours.items() if name not in names}
    add_list(draft, what, {n: d for n, d in kept.items() if (place / n).is_file()})
    # The list moves first: after a kill in between, an old file counts as edited, and is kept.
    for name in (list_of(what), *names):
        (draft / name).replace(place / name)


def set_aside(file: Path) -> None:
    """Rename a file that is in the way to ``name.1.png``, or to the first free number."""
    number = 1
    while (aside := file.with_name(f"{file.stem}.{number}{file.suffix}")).exists():
        number += 1
    if file.exists() or file.is_symlink():
        file.rename(aside)


def _is_listed(file: Path, name: str, ours: Mapping[str, str]) -> bool:
    return name in ours and file.is_file() and not file.is_symlink() and _digest(file) == ours[name]


def _files(folder: Path) -> list[Path]:
    """List all files below a folder; a link counts as a file, even if it leads to a folder."""
    found = [
        Path(above) / name
        for above, folders, files in os.walk(folder)
        for name in (*files, *(f for f in folders if (Path(above) / f).is_symlink()))
    ]
    return sorted(file for file in found if file.name not in _LITTER)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
