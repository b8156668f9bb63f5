"""What the system says of files: enough to tell, without reading them, that they are unchanged."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Clocks of file systems tick as seldom as every 2 s, and a server's may lag behind ours.
_UNSETTLED = 4_000_000_000  # nanoseconds


@dataclass(frozen=True)
class FileState:
    """The state of some files at one time.

    Attributes:
        place: The deepest path that they all lie below; a single file's own path.
        digest: Of path, inode, size and time of change of each.
        settled: Whether every change from now on will show in `digest`. A file that was written a
            moment ago can be written again, to the same size, before the clock of the file system
            ticks, and the two contents then have the same state. Git calls such an entry of its
            index racily clean, and does not trust it either.
    """

    place: str
    digest: str
    settled: bool


def file_state(paths: Sequence[Path]) -> FileState | None:
    """Ask the system for the state of files; None where one of them is not to be had."""
    now = time.time_ns()
    names = [os.path.abspath(path) for path in paths]
    sha, newest = hashlib.sha256(), 0
    try:
        for name in names:
            found = os.stat(name)
            newest = max(newest, found.st_mtime_ns)
            state = (name, found.st_ino, found.st_size, found.st_mtime_ns)
            sha.update(repr(state).encode())
    except OSError:
        return None
    return FileState(os.path.commonpath(names), sha.hexdigest(), now - newest > _UNSETTLED)
