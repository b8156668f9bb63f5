"""Writes what was measured of a finished run into its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate import record
from ablate.errors import AblateError, raise_if_full


def add_evaluation(
    folder: Path, entry: record.Record, split: str, found: Mapping[str, Any]
) -> record.Record:
    """Add what was found of a split to a run's record; kinds that were not measured now stay.

    Args:
        folder: The run's folder, which this process holds.
        entry: Its record.
        split: ``test`` or ``val``.
        found: What was found, by kind.

    Returns:
        The record as it is now.
    """
    before = entry["evaluate"]
    of_split = {**before.get(split, {}), **found}
    whole: record.Record = {**entry, "evaluate": {**before, split: of_split}}
    record.write(folder, whole)
    return whole


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say in the user's words what the system refuses of a run's folder."""
    try:
        yield
    except OSError as error:
        raise_if_full(error)
        raise AblateError(f"{folder} cannot be read or written: {error}") from error
