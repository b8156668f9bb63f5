"""A run's checkpoint: the state to resume from during training, and the weights at the end."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ablate.errors import AblateError
from ablate.record import checksum
from ablate.record.aside import set_aside
from ablate.record.content import Record
from ablate.record.correct import write_correct
from ablate.record.names import CHECKPOINT, CORRECT, RECORD, STATE, WEIGHTS
from ablate.record.run_folder import has_ended, read, write
from ablate.record.writing import replacing


def save_state(directory: Path, state: Mapping[str, Any]) -> None:
    """Write the state to resume training from."""
    _save(directory / CHECKPOINT, {"resume": dict(state)})


def _save(path: Path, content: Mapping[str, Any]) -> None:
    """Serialize in memory first, since torch reports a full disk as another error."""
    import torch

    whole = io.BytesIO()
    torch.save(content, whole)
    archive = whole.getbuffer()
    checksum.make_room(archive)
    with replacing(path) as file:
        file.write(archive)
        file.write(checksum.tail_of(archive))


def load_state(directory: Path) -> dict[str, Any] | None:
    """Read the state to resume training from, or None if there is none.

    A damaged file (say, cut off by a full disk) counts as missing: training starts again.
    """
    try:
        content = _load(directory / CHECKPOINT)
    except _DAMAGE:
        return None
    state = content.get("resume") if isinstance(content, dict) else None
    return state if isinstance(state, dict) else None


# torch may raise any of these on a damaged or foreign file.
_DAMAGE: Final = (
    *(OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, IndexError),
    *(AttributeError, OverflowError, pickle.UnpicklingError, zipfile.BadZipFile),
)


def _load(path: Path) -> Any:
    """Read a file that torch saved, accepting only tensors and plain values.

    Raises:
        OSError: There is no file.
        ValueError: It is damaged; or any other error of `_DAMAGE`.
    """
    import torch

    content = path.read_bytes()
    if not _is_sound(content):
        raise ValueError("its checksum does not fit")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _is_sound(content: bytes) -> bool:
    found = checksum.soundness(content)
    if found != "unsealed":
        return found == "sound"
    # Written by an earlier version: check the archive's own checksums, which torch skips.
    if not content.endswith(b"\0\0"):
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.testzip() is None


def is_damaged(directory: Path) -> bool:
    """Tell whether a run's checkpoint exists but was changed since it was written."""
    try:
        _load(directory / CHECKPOINT)
    except FileNotFoundError:
        return False
    except _DAMAGE:
        return True
    return False


def finish(
    directory: Path,
    record: Record,
    weights: Mapping[str, Any] | None,
    state: Mapping[str, Any] | None = None,
    correct: NDArray[np.bool_] | None = None,
) -> None:
    """Record the end of a run, and replace the state to resume from with its weights.

    A kill between any two steps leaves either a run that resumes near its end, or a finished run
    whose checkpoint `settle` repairs.

    Args:
        directory: The run's folder.
        record: The final record.
        weights: A plain state dict, or None to keep none.
        state: The last training state, to keep as state.pt, or None.
        correct: Which test images it got right [N], or None for a run without answers.
    """
    if weights is not None:
        _save(directory / WEIGHTS, dict(weights))
    if state is not None:
        _save(directory / STATE, {"resume": dict(state)})
    write_correct(directory, correct)
    write(directory, record)
    settle(directory, keeps_weights=weights is not None)


def settle(directory: Path, keeps_weights: bool) -> None:
    """Move a run's weights into place, if a kill right after its last record prevented it."""
    if (directory / WEIGHTS).exists():
        (directory / WEIGHTS).replace(directory / CHECKPOINT)
    elif not keeps_weights:
        (directory / CHECKPOINT).unlink(missing_ok=True)


def settle_if_measured(directory: Path, record: Record) -> None:
    """Settle a finished or diverged run; a failed one keeps the state that it can resume from."""
    if record["status"] in ("finished", "diverged"):
        settle(directory, keeps_weights=record["config"]["save"] != "none")


def set_aside_if_ended(directory: Path, rerun: str) -> None:
    """Rename the files of a run that is about to be trained again: record.1.json, ...

    With `rerun=failed` the checkpoint stays in place, and the run resumes from it: the cause of a
    failure may be outside the run (a killed process, too little memory). A diverged run would only
    diverge again, so it starts anew. Weights whose record was removed are renamed, too.
    """
    old = read(directory)
    if old is None:
        if load_state(directory) is None:
            set_aside(directory, (CHECKPOINT, STATE, CORRECT))
        return
    if not has_ended(old, rerun="none"):
        return
    if old["status"] == rerun == "failed":
        set_aside(directory, (RECORD,))
        return
    settle_if_measured(directory, old)
    set_aside(
        directory, (CHECKPOINT, STATE, CORRECT, RECORD)
    )  # the record last, once its files are safe


def has_lost_weights(directory: Path, record: Record) -> bool:
    """Tell whether a finished run should have weights but they are gone."""
    kept = record["config"].get("save") != "none"
    there = any((directory / name).is_file() for name in (CHECKPOINT, WEIGHTS))
    return record["status"] == "finished" and kept and not there


def load_weights(directory: Path) -> dict[str, Any]:
    """Read a finished run's weights, a plain state dict.

    Raises:
        AblateError: The run kept none, they are gone, or the file is damaged; the message says how
            to get them.
    """
    import torch

    settle(directory, keeps_weights=True)
    path = directory / CHECKPOINT
    if not path.is_file():
        raise AblateError(_why_there_are_none(directory))
    try:
        weights = _load(path)
    except _DAMAGE as error:
        raise AblateError(
            f"{path} is damaged, or holds more than tensors ({type(error).__name__}): rerun=all"
            " trains the run again"
        ) from error
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise AblateError(f"{path} holds no weights of a finished run: rerun=all trains it again")
    return weights


def _why_there_are_none(directory: Path) -> str:
    found = read(directory)
    if found is not None and found.get("config", {}).get("save") == "none":
        return (
            f"{directory} keeps no weights: it was trained with save=none; leave that out, and"
            " rerun=all trains it again"
        )
    return f"{directory / CHECKPOINT} is missing: rerun=all trains the run again"
