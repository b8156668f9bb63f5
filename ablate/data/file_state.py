"""The state of files (size, time of change): shows, without reading, that they are unchanged."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# The clock of a file system may tick only every 2 s, and a server's clock may lag behind ours.
_UNSETTLED = 4_000_000_000  # nanoseconds


@dataclass(frozen=True)
class FileState:
    """The state of some files at one time.

    Attributes:
        place: The deepest folder that contains them all; for a single file its own path.
        digest: Hash of the path, inode, size and time of change of each file.
        settled: Whether every future change will change `digest`. A file that was just written may
            be written again, with the same size, before the file system's clock ticks: both then
            have the same state. (Git calls such an entry racily clean, and does not trust it.)
        files: Path -> inode, size and time of change, as text.
    """

    place: str
    digest: str
    settled: bool
    files: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def changes(self, later: FileState | None) -> list[str]:
        """Say which files have changed since, a few words each, missing ones first."""
        now = {} if later is None else later.files
        gone = [f"{path} is gone" for path in self.files if path not in now]
        changed = [
            f"{path} has changed"
            for path, state in self.files.items()
            if path in now and now[path] != state
        ]
        return gone + changed + [f"{path} is new" for path in now if path not in self.files]


def file_state(paths: Sequence[str | os.PathLike[str]]) -> FileState | None:
    """Ask the system for the state of files; None if any of them is missing."""
    now = time.time_ns()
    # `abspath` would take a second for fifty thousand files.
    names = [n if os.path.isabs(n := os.fspath(path)) else os.path.abspath(n) for path in paths]
    sha, newest, files = hashlib.sha256(), 0, {}
    try:
        for name in names:
            found = os.stat(name)
            newest = max(newest, found.st_mtime_ns)
            inode, size, time_of_change = found.st_ino, found.st_size, found.st_mtime_ns
            sha.update(f"({name!r}, {inode}, {size}, {time_of_change})".encode())
            files[name] = f"{inode} {size} {time_of_change}"
    except OSError:
        return None
    folders = {os.path.dirname(name) for name in files} if len(files) > 1 else names
    return FileState(os.path.commonpath(folders), sha.hexdigest(), now - newest > _UNSETTLED, files)
