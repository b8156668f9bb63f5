"""The claim on a run, so that only one process at a time trains it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock

from ablate.record import locks
from ablate.record.content import Status
from ablate.record.names import CHECKPOINT, CORRECT, RECORD, STATE, WEIGHTS


@dataclass(frozen=True)
class RunClaim:
    """A claim on a run; truthy if this process holds it.

    Attributes:
        held: Whether it was granted.
    """

    held: bool
    _lock: BaseFileLock

    def __bool__(self) -> bool:
        return self.held

    @property
    def is_lost(self) -> bool:
        """Whether another process took over the run while this one was suspended."""
        return locks.is_lost(self._lock)


@contextmanager
def claim(directory: Path, wait: bool = True) -> Iterator[RunClaim]:
    """Hold a run for this process, and delete drafts left by a killed holder.

    Args:
        directory: The run's folder.
        wait: Whether to wait while another process holds it.

    Yields:
        The claim; with `wait`, it is always held.

    Raises:
        OSError: The folder cannot be read or written.
    """
    lock = locks.lock_of(directory)
    if not locks.acquired(lock, wait):
        yield RunClaim(False, lock)
        return
    try:
        for name in (RECORD, CHECKPOINT, STATE, WEIGHTS, CORRECT):
            for draft in directory.glob(f".{name}.*.part"):  # left by a killed process
                draft.unlink()
        yield RunClaim(True, lock)
    finally:
        lock.release()


def claimed_elsewhere(directory: Path) -> bool:
    """Tell whether a process holds a run right now."""
    return locks.is_held(directory)


def status_now(directory: Path, status: Status) -> Status:
    """Return a run's status now: a running one that nobody holds is interrupted."""
    dead = status == "running" and not claimed_elsewhere(directory)
    return "interrupted" if dead else status
