"""The parts of a record that are written before and during training."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ablate import data, environment, record
from ablate.plan.run import Run

if TYPE_CHECKING:
    from ablate.train.training import Training


def first_record(run: Run, tries: Sequence[record.Try] = ()) -> record.Record:
    """Make the record of a run that has not started.

    Args:
        run: The run.
        tries: Earlier attempts, which ended by accident.
    """
    made: record.Record = {
        "schema": record.SCHEMA,
        "key": run.key,
        "study": run.study,
        "arm": run.arm,
        "seed": run.config["seed"],
        "config": run.config,
        "status": "running",
        "reason": None,
        "active": {},
        "metrics": {},
        "history": [],
        "evaluate": {},
        "parameters": None,
        "timing": {"started": now(), "seconds": []},
        "environment": {},
    }
    if run.code is not None:
        made["code"] = run.code
    return made | {"tries": list(tries)} if tries else made


def tries_of(directory: Path) -> list[record.Try]:
    """Read which attempts at an unfinished run ended by accident."""
    old = record.read(directory)
    return [] if old is None else list(old.get("tries", ()))


def note_accident(run: Run, directory: Path, reason: str) -> bool:
    """Record that an attempt ended by accident; tell whether to try the run again.

    After the last attempt the run is recorded as failed, unless its record says that it has ended.

    Raises:
        OSError: The record cannot be written.
    """
    old = record.read(directory) or first_record(run)
    if record.has_ended(old, run.config["rerun"]):
        return False
    this: record.Try = {"started": old["timing"]["started"], "ended": now(), "reason": reason}
    tries = [*old.get("tries", ()), this]
    if len(tries) > run.config["retries"]:
        record_failure(run, directory, reason, tries)
        return False
    record.write(directory, old | {"status": "interrupted", "reason": reason, "tries": tries})
    return True


def record_failure(
    run: Run, directory: Path, reason: str, tries: Sequence[record.Try] = ()
) -> None:
    """Record a run as failed, unless its record says that it has ended.

    Raises:
        OSError: The record cannot be written.
    """
    old = record.read(directory) or first_record(run)
    if record.has_ended(old, run.config["rerun"]):
        return
    failed: record.Record = old | {"status": "failed", "reason": reason}
    if tries:
        failed["tries"] = list(tries)
    record.write(directory, record.with_line(failed, directory))


def environment_of(run: Run, training: Training, slot: int) -> record.Environment:
    """Describe what a run trains on: machine, software, data, and its place in the stack."""
    source, tensors, stack = data.read(run.config["data"]), training.data, training.stack
    return environment.describe(run.config["device"]) | {
        "data": {
            "digest": run.digest,
            "shape": list(tensors.shape),
            "classes": list(source.classes),
            "sizes": {
                "train": len(tensors.train),
                "val": len(tensors.val),
                "test": len(tensors.test),
            },
            "mean": tensors.mean.flatten().tolist(),
            "std": tensors.std.flatten().tolist(),
            "largest_class": tensors.val.largest_class(),
        },
        "stack": {"width": stack.width, "slot": slot, "fused": stack.fused},
    }


def now() -> str:
    """Return the time in UTC, as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")
