"""Finds the folders of runs below a path, following links."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ablate.errors import AblateError, listed
from ablate.record.names import RECORD

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


def find(path: Path) -> list[Path]:
    """List the folders of all runs below a path (or the path itself), in order.

    Links to folders are followed. A folder that can be reached in several ways is listed once,
    without a link if possible. A link to a folder above itself is ignored.

    Raises:
        AblateError: It cannot be a path, for example because a name in it is too long.
    """
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return []
        raise AblateError(f"{path} cannot be read ({error.strerror})") from error
    seen = {os.path.realpath(path)}
    found: list[Path] = []
    ways = [str(path)]
    while ways:
        links: list[str] = []
        for folder in ways:
            found += _below(folder, seen, links)
        ways = [link for link in sorted(links) if _is_new(link, seen)]
    return sorted(found)


def _below(top: str, seen: set[str], links: list[str]) -> Iterator[Path]:
    """List the folders of runs below a folder, without following links, which are collected."""
    real = os.path.realpath(top)
    for folder, folders, files in os.walk(top):
        here = real + folder[len(top) :]
        is_run = (
            RECORD in files or RECORD in folders
        )  # a folder of that name is damage, and is reported
        links += (way for name in folders if os.path.islink(way := os.path.join(folder, name)))
        # An earlier link may have led into this tree.
        folders[:] = [name for name in folders if os.path.join(here, name) not in seen]
        seen.update(os.path.join(here, name) for name in folders)
        if is_run:
            yield Path(folder)


def _is_new(link: str, seen: set[str]) -> bool:
    """Tell whether a link leads to a folder not yet listed, and not to one above itself."""
    target = os.path.realpath(link)
    above = os.path.realpath(os.path.dirname(link))
    if target in seen or os.path.commonpath([target, above]) == target:
        return False
    seen.add(target)
    return True


def none_below(path: Path) -> str:
    """Say that there is no record below a path, and which folder may have been meant."""
    if path.exists():
        return f"{path} holds no record: name the folder of a run or a sweep"
    near_by = [*path.parent.glob(f"*/*/{RECORD}"), *Path("results").glob(f"*/*/{RECORD}")]
    sweeps = {file.parents[1].name: file.parents[1] for file in near_by}
    near = [str(sweeps[name]) for name in get_close_matches(path.name, sweeps, 1)]
    some = near or sorted(map(str, sweeps.values()))[:3]
    hint = f"; did you mean {listed(some)}?" if some else ""
    return f"{path} is not there: name the folder of a run or a sweep{hint}"
