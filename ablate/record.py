"""The run record: one folder a run, written so that a kill at any moment loses nothing.

record.json     what the run is and what came out; the old version or the new one, never a part
checkpoint.pt   while training, the state to go on from; at the end, the selected weights
run.log         what happened, with any traceback
.hydra/         what Hydra composed
.lock           held by the process that trains the run, freed by the kernel when it dies
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from ablate.errors import AblateError

SCHEMA = 1
RECORD, CHECKPOINT, STATE, LOCK = "record.json", "checkpoint.pt", "state.pt", ".lock"
_WEIGHTS = ".weights.pt"  # complete, but not yet in the checkpoint's place

Record = dict[str, Any]

_PARTS = {
    **dict.fromkeys(("config", "active", "metrics", "evaluate", "timing", "environment"), dict),
    "history": list,
    "seed": int,
}


# -- record.json -----------------------------------------------------------------------------------


def write(directory: Path, record: Mapping[str, Any]) -> None:
    """Replace a record atomically; numbers that are not finite become null."""
    write_json(directory / RECORD, record)


def write_json(path: Path, value: Any) -> None:
    """Replace a file of JSON that another process may read; what is not finite becomes null."""
    text = json.dumps(_finite(value), indent=1, allow_nan=False, ensure_ascii=False)
    with replacing(path) as file:
        file.write(text.encode())


def read(directory: Path) -> Record | None:
    """Read a record, or None where there is none.

    Raises:
        AblateError: The file is no record; it is named.
    """
    path = directory / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AblateError(
            f"{path} does not read as a record: {error}; delete its folder to train the run anew"
        ) from error
    if not isinstance(record, dict) or not {"schema", "key", "status"} <= set(record):
        raise AblateError(f"{path} is no record of ablate: it lacks schema, key or status")
    if record["schema"] != SCHEMA:
        raise AblateError(
            f"{path} has schema {record['schema']}, this version of ablate reads {SCHEMA}"
        )
    return record


def read_whole(directory: Path) -> Record | None:
    """Read a record that has every part that evaluation and analysis take up, or None.

    Raises:
        AblateError: The file is no record, or it lacks a part; both are named.
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


def set_aside_if_ended(directory: Path) -> None:
    """Keep the record of a run that ended and is trained again, as record.1.json, ..."""
    old = read(directory)
    if old is None or not has_ended(old, rerun="none"):
        return
    number = 1
    while (directory / f"record.{number}.json").exists():
        number += 1
    (directory / RECORD).rename(directory / f"record.{number}.json")
    (directory / CHECKPOINT).unlink(missing_ok=True)
    (directory / STATE).unlink(missing_ok=True)


@dataclass(frozen=True)
class Standing:
    """How a run stands, as its record says.

    Attributes:
        status: As in the record.
        reason: Why it ended so, or None.
    """

    status: str
    reason: str | None = None

    def has_ended(self, rerun: str) -> bool:
        """Tell whether the run is to be left alone, given what `rerun` names."""
        return self.status not in ("running", "interrupted") and rerun not in ("all", self.status)


def standing(directory: Path) -> Standing | None:
    """Read how a run stands, or None where there is no record."""
    found = read(directory)
    return None if found is None else Standing(found["status"], found.get("reason"))


def has_ended(record: Mapping[str, Any], rerun: str) -> bool:
    """Tell whether a recorded run is to be left alone, given what `rerun` names."""
    return Standing(record["status"]).has_ended(rerun)


def find(path: Path) -> list[Path]:
    """List the folders of all runs below a path (or the path itself), in order."""
    return sorted(file.parent for file in Path(path).rglob(RECORD))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside its place and move it there when it is whole and on the disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# -- checkpoint.pt ---------------------------------------------------------------------------------


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
    record: Mapping[str, Any],
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
        _save(directory / _WEIGHTS, dict(weights))
    if state is not None:
        _save(directory / STATE, {"resume": dict(state)})
    write(directory, record)
    settle(directory, keeps_weights=weights is not None)


def settle(directory: Path, keeps_weights: bool) -> None:
    """Finish what a kill right after the last record may have left undone."""
    if (directory / _WEIGHTS).exists():
        (directory / _WEIGHTS).replace(directory / CHECKPOINT)
    elif not keeps_weights:
        (directory / CHECKPOINT).unlink(missing_ok=True)


def has_lost_weights(directory: Path, record: Mapping[str, Any]) -> bool:
    """Tell whether a finished run was to keep its weights, and they are no longer there."""
    kept = record["config"].get("save") != "none"
    there = any((directory / name).is_file() for name in (CHECKPOINT, _WEIGHTS))
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


# -- the claim -------------------------------------------------------------------------------------


@contextmanager
def claim(directory: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a run for this process.

    Args:
        directory: The run's folder.
        wait: Whether to wait while another process holds it.

    What a killed holder left half-written is cleared away.

    Yields:
        Whether the run is held (always, if waiting).
    """
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        for draft in directory.glob(".*.part"):  # of a process that was killed while it wrote
            draft.unlink()
        yield True
    finally:
        lock.release()


def claimed_elsewhere(directory: Path) -> bool:
    """Tell whether another process holds a run right now."""
    if not (directory / LOCK).exists():
        return False
    with claim(directory, wait=False) as held:
        return not held
