"""Writes measurements of a finished run into its record."""

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
    """Add measurements on a split to a run's record; other kinds of measurements are kept.

    Args:
        folder: The run's folder, which this process holds.
        entry: Its record.
        split: ``test`` or ``val``.
        found: Kind -> measurements.

    Returns:
        The new record.
    """
    before = entry["evaluate"]
    of_split = {**before.get(split, {}), **found}
    whole: record.Record = {**entry, "evaluate": {**before, split: of_split}}
    record.write(folder, whole)
    return whole


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of the system about a run's folder into errors for the user.

    Raises:
        AblateError: The folder cannot be read or written.
        DiskFullError: There is no space left.
    """
    try:
        yield
    except OSError as error:
        raise_if_full(error)
        raise AblateError(
            f"{folder} cannot be read or written ({error.strerror or error})"
        ) from error
