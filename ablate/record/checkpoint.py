"""A run's checkpoint: while it trains the state to go on from, at the end its weights."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.errors import AblateError
from ablate.record.content import Record
from ablate.record.run_folder import CHECKPOINT, RECORD, STATE, WEIGHTS, has_ended, read, write
from ablate.record.writing import replacing


def save_state(directory: Path, state: Mapping[str, Any]) -> None:
    """Write the state that training goes on from."""
    _save(directory / CHECKPOINT, {"resume": dict(state)})


def _save(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors by way of memory, so that a full disk is told as what it is."""
    import torch

    whole = io.BytesIO()
    torch.save(content, whole)
    with replacing(path) as file:
        file.write(whole.getbuffer())


def load_state(directory: Path) -> dict[str, Any] | None:
    """Read the state that training goes on from, or None where there is none.

    A file that does not read (cut off by a full disk, say) counts as none: training starts again.
    """
    import torch

    path = directory / CHECKPOINT
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    state = content.get("resume") if isinstance(content, dict) else None
    return state if isinstance(state, dict) else None


def finish(
    directory: Path,
    record: Record,
    weights: Mapping[str, Any] | None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Record the end of a run and let its weights take the place of the resume state.

    A kill between any two of these steps leaves either a run that is resumed near its end, or a
    finished one whose checkpoint `settle` puts in order.

    Args:
        directory: The run's folder.
        record: The final record.
        weights: A plain state dict, or None to keep none.
        state: The last training state, to keep it as state.pt.
    """
    if weights is not None:
        _save(directory / WEIGHTS, dict(weights))
    if state is not None:
        _save(directory / STATE, {"resume": dict(state)})
    write(directory, record)
    settle(directory, keeps_weights=weights is not None)


def settle(directory: Path, keeps_weights: bool) -> None:
    """Finish what a kill right after the last record may have left undone."""
    if (directory / WEIGHTS).exists():
        (directory / WEIGHTS).replace(directory / CHECKPOINT)
    elif not keeps_weights:
        (directory / CHECKPOINT).unlink(missing_ok=True)


def settle_if_measured(directory: Path, record: Record) -> None:
    """Settle a run that came to its end; one that failed keeps the state that it can go on from."""
    if record["status"] in ("finished", "diverged"):
        settle(directory, keeps_weights=record["config"]["save"] != "none")


def set_aside_if_ended(directory: Path, rerun: str) -> None:
    """Keep what is there of a run that is trained again, as record.1.json, checkpoint.1.pt, ...

    With `rerun=failed` the checkpoint stays in its place: what made a run fail may lie outside it
    (a killed process, a full memory), and it goes on from there. What diverged would diverge again.
    Weights without a record (somebody took it away) are kept, too.
    """
    old = read(directory)
    if old is None:
        if load_state(directory) is None:
            _set_aside(directory, (CHECKPOINT, STATE))
        return
    if not has_ended(old, rerun="none"):
        return
    if old["status"] == rerun == "failed":
        _set_aside(directory, (RECORD,))
        return
    settle_if_measured(directory, old)
    _set_aside(directory, (CHECKPOINT, STATE, RECORD))  # the record last: what it tells of is safe


def _set_aside(directory: Path, names: Sequence[str]) -> None:
    """Rename files of a run, all by the same number, over none that is there."""
    there = [directory / name for name in names if (directory / name).exists()]
    number = 1
    while any(_numbered(file, number).exists() for file in (*there, directory / RECORD)):
        number += 1
    for file in there:
        file.rename(_numbered(file, number))


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.stem}.{number}{file.suffix}")


def has_lost_weights(directory: Path, record: Record) -> bool:
    """Tell whether a finished run was to keep its weights, and they are no longer there."""
    kept = record["config"].get("save") != "none"
    there = any((directory / name).is_file() for name in (CHECKPOINT, WEIGHTS))
    return record["status"] == "finished" and kept and not there


def load_weights(directory: Path) -> dict[str, Any]:
    """Read a finished run's weights, a plain state dict.

    Raises:
        AblateError: The run kept none, they are gone, or the file is damaged; told with the way
            out.
    """
    import torch

    settle(directory, keeps_weights=True)
    path = directory / CHECKPOINT
    if not path.is_file():
        raise AblateError(_why_there_are_none(directory))
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    # What a torn or foreign file makes of torch's reader has no class of its own.
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
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
            f"{directory} keeps no weights: it was trained with save=none; without that, rerun=all"
            " trains it again"
        )
    return f"{directory / CHECKPOINT} is missing: rerun=all trains the run again"
