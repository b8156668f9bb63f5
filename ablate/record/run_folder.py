"""A run's folder: reads and writes its record, and lets only one process at a time train it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from ablate.errors import AblateError, listed
from ablate.record.content import ENDED, SCHEMA, STATUSES, Record, Status
from ablate.record.writing import write_json

RECORD: Final = "record.json"
CHECKPOINT: Final = "checkpoint.pt"
STATE: Final = "state.pt"
CORRECT: Final = "correct.npy"
WEIGHTS: Final = ".weights.pt"  # complete, but not yet in the checkpoint's place
_LOCK = ".lock"

_PARTS = {
    **dict.fromkeys(("config", "active", "metrics", "evaluate", "timing", "environment"), dict),
    "history": list,
    "seed": int,
}


# -- record.json -----------------------------------------------------------------------------------


def write(directory: Path, record: Record) -> None:
    """Replace a record atomically; non-finite numbers become null."""
    write_json(directory / RECORD, record)


def read(directory: Path) -> Record | None:
    """Read a record, or None if there is none.

    Raises:
        AblateError: The file is not a record; the message names it.
    """
    path = directory / RECORD
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AblateError(
            f"{path} does not read as a record: {error}; delete its folder to train the run anew"
        ) from error
    if not isinstance(found, dict) or not {"schema", "key", "status"} <= set(found):
        raise AblateError(f"{path} is no record of ablate: it lacks schema, key or status")
    if found["schema"] != SCHEMA:
        raise AblateError(
            f"{path} has schema {found['schema']}, this version of ablate reads {SCHEMA}"
        )
    if found["status"] not in STATUSES:
        raise AblateError(
            f"{path} is no record of ablate: its status is {found['status']!r}, not one of"
            f" {listed(STATUSES)}"
        )
    record: Record = found  # type: ignore[assignment]
    return record


def read_whole(directory: Path) -> Record | None:
    """Read a record with all the parts that evaluation and analysis need; None if there is none.

    Raises:
        AblateError: The file is not a record, or lacks a part; the message names it.
    """
    found = read(directory)
    if found is None:
        return None
    lacking = [name for name, kind in _PARTS.items() if type(found.get(name)) is not kind]
    if lacking:
        raise AblateError(
            f"{directory / RECORD} is no whole record of ablate: it lacks {', '.join(lacking)}"
        )
    return found


@dataclass(frozen=True)
class Standing:
    """How a run stands, according to its record.

    Attributes:
        status: As in the record.
        reason: Why it failed, diverged or was interrupted, or None.
    """

    status: Status
    reason: str | None = None

    def has_ended(self, rerun: str) -> bool:
        """Tell whether the run has ended and `rerun` does not ask for it again."""
        return self.status in ENDED and rerun not in ("all", self.status)


def standing(directory: Path) -> Standing | None:
    """Read how a run stands, or None if it has no record."""
    found = read(directory)
    return None if found is None else Standing(found["status"], found.get("reason"))


def has_ended(record: Record, rerun: str) -> bool:
    """Tell whether a recorded run has ended and `rerun` does not ask for it again."""
    return Standing(record["status"]).has_ended(rerun)


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


def find(path: Path) -> list[Path]:
    """List the folders of all runs below a path (or the path itself), in order.

    Raises:
        AblateError: It cannot be a path, since a name in it is too long, say.
    """
    try:
        return sorted(file.parent for file in Path(path).rglob(RECORD))
    except OSError as error:
        raise AblateError(f"{path} cannot be read ({error.strerror})") from error


# -- the claim -------------------------------------------------------------------------------------


@contextmanager
def claim(directory: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a run for this process, and delete drafts that a killed holder left.

    Args:
        directory: The run's folder.
        wait: Whether to wait while another process holds it.

    Yields:
        Whether this process now holds the run; with `wait`, always true.
    """
    lock = FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        for name in (RECORD, CHECKPOINT, STATE, WEIGHTS, CORRECT):
            for draft in directory.glob(f".{name}.*.part"):  # of a process that was killed
                draft.unlink()
        yield True
    finally:
        lock.release()


def claimed_elsewhere(directory: Path) -> bool:
    """Tell whether another process holds a run right now."""
    if not (directory / _LOCK).exists():
        return False
    with claim(directory, wait=False) as held:
        return not held
