"""The end of a sweep's ledger, ledger.jsonl, which a run's record refers to.

`ablate.study.ledger` says what the file holds, and writes it.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

from filelock import BaseFileLock

from ablate.record import locks
from ablate.record.aside import set_aside_wrong_kinds
from ablate.record.content import LedgerLine, Record
from ablate.record.names import LEASE, LOCK

LEDGER: Final = "ledger.jsonl"
_BLOCK = 1 << 16  # bytes read at once


@contextmanager
def sweep_lock(sweep: Path) -> Iterator[None]:
    """Hold the lock for changing files in a sweep's own folder.

    Raises:
        OSError: The folder does not exist, or cannot be written to.
    """
    set_aside_wrong_kinds(sweep, (LOCK, LEASE))
    lock: BaseFileLock = locks.lock_of(sweep)
    locks.acquired(lock, wait=True)
    try:
        yield
    finally:
        lock.release()


def with_line(record: Record, directory: Path) -> Record:
    """Add the number and hash of the ledger's last line to the record of a run that ends now."""
    line = latest_line(directory.parent)
    return record if line is None else record | {"ledger": line}


def latest_line(sweep: Path) -> LedgerLine | None:
    """Read the number and hash of the last whole line of a sweep's ledger; None if there is none.

    Only the end of the file is read, and only if it has grown: every run of a sweep asks, and a
    line that lists many runs is long.
    """
    file = sweep / LEDGER
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return None
        return _last_of(file.absolute(), found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError:  # missing or unreadable, which the report says
        return None


@lru_cache(maxsize=16)
def _last_of(file: Path, *state: int) -> LedgerLine | None:
    with file.open("rb") as opened:
        for text in _from_the_end(opened):
            if (line := parsed(text)) is not None:
                return {"number": line["number"], "hash": line["hash"]}
    return None


def parsed(text: bytes) -> dict[str, Any] | None:
    """Read a line of a ledger; None if it is not a line, or not whole."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or type(found.get("number")) is not int:
        return None
    return found if isinstance(found.get("hash"), str) else None


def _from_the_end(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file, last line first."""
    place, rest = file.seek(0, 2), b""
    while place > 0:
        begin = max(0, place - _BLOCK)
        file.seek(begin)
        first, *whole = (file.read(place - begin) + rest).split(b"\n")
        yield from reversed(whole)
        place, rest = begin, first
    yield rest
