"""Locks, by flock where that works and by a lease file where it does not.

The kernel's lock (flock) is released as soon as its holder dies. Some network and user-space file
systems lack it, or have one that excludes nobody, so a process tests it once on each file system.
Where it does not work, a file `.lease` replaces it. It names the host, the process and a random
token, and its holder touches it every third of `DURATION`. A process that has seen no change for
`DURATION`, by its own clock, takes it over; on the same host a lease is free as soon as its process
is gone. A holder that was suspended for that long finds at its next heartbeat that it lost the
lease.

The test cannot detect locks that hold only among processes of one host (Lustre's `localflock`, NFS
with `local_lock`), or that locks work on one host and not on another. The environment variable
ABLATE_LOCKS=lease asks for leases on every host.

Source: the files are filelock's, `filelock.SoftFileLease`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, FileLock, LeaseSettingsMismatch, SoftFileLease, Timeout

from ablate.record.names import LEASE, LOCK

DURATION: Final = 30.0  # seconds; the same on every host
_SKEW: Final = 120.0  # seconds by which clocks of hosts may differ
_LOOK: Final = 1.0  # seconds between two looks at a lock that another process holds
_works: dict[int, bool] = {}  # device -> whether flock keeps others out


def lock_of(folder: Path) -> BaseFileLock:
    """Make the lock of a folder.

    Args:
        folder: An existing folder.

    Raises:
        OSError: The folder cannot be read.
    """
    if flock_works(folder):
        return FileLock(folder / LOCK)
    return SoftFileLease(folder / LEASE, lease_duration=DURATION)


def is_lost(lock: BaseFileLock) -> bool:
    """Tell whether another process took over a lease held by this one."""
    return isinstance(lock, SoftFileLease) and lock.compromise is not None


def flock_works(folder: Path) -> bool:
    """Tell whether a lock in a folder excludes others; tested once on each file system."""
    if os.environ.get("ABLATE_LOCKS") == "lease":
        return False
    device = folder.stat().st_dev
    if device not in _works:
        try:
            _works[device] = _excludes(folder)
        except OSError:  # nothing can be written here, as taking the lock will show
            return True
    return _works[device]


def _excludes(folder: Path) -> bool:
    with (
        tempfile.NamedTemporaryFile(dir=folder, prefix=f"{LOCK}.", suffix=".part") as one,
        open(one.name, "rb+") as other,
    ):
        return _takes(one.fileno()) and not _takes(other.fileno())


def _takes(file: int) -> bool:
    """Try to lock an open file; tell whether it worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def acquired(lock: BaseFileLock, wait: bool) -> bool:
    """Acquire a lock, at once or after waiting for its holder; tell whether it is held now.

    Raises:
        OSError: Its file cannot be opened or written.
    """
    while True:
        if isinstance(lock, SoftFileLease):
            _remove_if_left(Path(lock.lock_file))
        try:
            lock.acquire(timeout=_LOOK if wait else 0)
        except Timeout:
            if not wait:
                return False
        except LeaseSettingsMismatch:  # perhaps a damaged lease, which is removed once it is old
            if not wait:
                return False
            time.sleep(_LOOK)
        else:
            return True


def _remove_if_left(lease: Path) -> None:
    """Remove a lease untouched for long: a damaged one would never be taken over."""
    with suppress(OSError):
        if time.time() - lease.stat().st_mtime > DURATION + _SKEW:
            lease.unlink()


def is_held(folder: Path) -> bool:
    """Tell whether a process holds the lock of a folder now; writes nothing."""
    return _is_locked(folder / LOCK) or _is_leased(folder / LEASE)


def _is_locked(file: Path) -> bool:
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait for a writer
    except OSError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # locks do not work here
        return False
    finally:
        os.close(opened)
    return False


def _is_leased(file: Path) -> bool:
    try:
        found = file.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or time.time() - found.st_mtime > DURATION + _SKEW:
        return False
    owner = SoftFileLease(file, lease_duration=DURATION).owner
    if owner is None or owner.hostname.partition("?")[0] != socket.gethostname():
        return True
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True
