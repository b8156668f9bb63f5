"""Sets files aside: keeps them under a numbered name, such as record.1.json."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ablate.record.names import FILES, FOLDERS, RECORD


def set_aside(directory: Path, names: Sequence[str]) -> None:
    """Rename files of a run, all with the same number, overwriting nothing."""
    there = [directory / name for name in names if os.path.lexists(directory / name)]
    number = 1
    while any(os.path.lexists(numbered(f, number)) for f in (*there, directory / RECORD)):
        number += 1
    for file in there:
        file.rename(numbered(file, number))


def numbered(file: Path, number: int) -> Path:
    """Return the name of a file set aside."""
    return file.with_name(f"{file.stem}.{number}{file.suffix}")


def set_aside_wrong_kinds(folder: Path, names: Sequence[str] = (*FILES, *FOLDERS)) -> list[str]:
    """Set aside what is not what its name says, such as a folder named record.json.

    Args:
        folder: A run's folder, or a sweep's; it need not be there.
        names: The names to look for.

    Returns:
        What was set aside, one sentence each.

    Raises:
        OSError: The folder cannot be read or written.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        _rename(folder)
        return [f"{folder} was not a folder: it is kept under another name"]
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    wrong = []
    for entry in entries:
        if entry.name in names and not _is_of_its_kind(entry):
            wrong.append(Path(entry.path))
    for path in wrong:
        _rename(path)
    what = {True: "folder", False: "file"}
    return [
        f"{path} was not a {what[path.name in FOLDERS]}: it is kept under another name"
        for path in sorted(wrong)
    ]


def _is_of_its_kind(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() if entry.name in FOLDERS else entry.is_file()
    except OSError:  # a link to itself
        return False


def _rename(path: Path) -> None:
    number = 1
    while os.path.lexists(numbered(path, number)):
        number += 1
    with suppress(FileNotFoundError):  # another process was faster
        path.rename(numbered(path, number))
