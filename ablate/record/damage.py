"""Sets aside damaged files in a run's folder, so that the run starts over and others go on."""

from __future__ import annotations

from pathlib import Path

from ablate.errors import DamagedError
from ablate.record.aside import set_aside
from ablate.record.checkpoint import is_damaged, load_state
from ablate.record.names import CHECKPOINT, CORRECT, RECORD, STATE
from ablate.record.run_folder import read


def mend(directory: Path) -> list[str]:
    """Set aside a damaged record or state to resume from; this process holds the run.

    A sound state without a record is kept: the run goes on from there.

    Returns:
        What was damaged, one sentence each.

    Raises:
        OSError: The folder cannot be written.
        AblateError: The record cannot be read, or another version of ablate wrote it.
    """
    try:
        found = read(directory, checked=True)
    except DamagedError as error:
        whole = load_state(directory) is not None
        set_aside(directory, (RECORD,) if whole else (CHECKPOINT, STATE, CORRECT, RECORD))
        return [error.faults[0]]
    ended = found is not None and found["status"] in ("finished", "diverged")
    if ended or not is_damaged(directory):
        return []
    set_aside(directory, (CHECKPOINT,))
    path = directory / CHECKPOINT
    return [f"{path} is damaged: it is kept under another name, and the run starts anew"]
