"""What the ledger needs of a record; thousands of these are held at once, so nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate import record
from ablate.errors import AblateError
from ablate.study import ledger


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the ledger needs of a record.

    Attributes:
        key: The run's key.
        arm: Its arm, as recorded.
        seed: Its seed, as recorded.
        status: Its status, as recorded.
        line: The line of the ledger that it names; None in a record of an earlier version.
        digests: What a look keeps of it (`ledger.digests`); None if the run has not ended.
        is_as_written: Whether it fits its checksum.
    """

    key: str
    arm: str | None
    seed: int | None
    status: record.Status
    line: record.LedgerLine | None
    digests: Mapping[str, Any] | None
    is_as_written: bool


def at(folder: Path) -> Glimpse | None:
    """Read what the ledger needs of a folder's record; None if missing or unreadable."""
    try:
        found = record.read_and_check(folder)
    except AblateError:
        return None
    return None if found is None else of(*found)


def of(found: record.Record, is_as_written: bool) -> Glimpse:
    """Take what the ledger needs from a record."""
    return Glimpse(
        found["key"],
        found.get("arm"),
        found.get("seed"),
        found["status"],
        _stated(found),
        ledger.digests(found) if found["status"] in record.ENDED else None,
        is_as_written,
    )


def _stated(found: record.Record) -> record.LedgerLine | None:
    """Read which line a record names; None if it cannot be read."""
    line: Any = found.get("ledger")
    sound = isinstance(line, dict) and type(line.get("number")) is int and "hash" in line
    return {"number": line["number"], "hash": str(line["hash"])} if sound else None
