"""Reads each record file once, into rows, flat configs and columns of numbers."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isnan, nan
from pathlib import Path
from typing import Any

from ablate import record
from ablate.analyze import outcomes
from ablate.analyze.run_measures import measure
from ablate.analyze.spread_out import spread_out
from ablate.config import schema
from ablate.errors import AblateError
from ablate.study import glimpse
from ablate.study.glimpse import Glimpse

Paths = str | Path | Sequence[str | Path]

_MANY = 2000  # with more runs, starting other processes pays off
_AT_ONCE = 100  # runs that a process reads before it asks for more


@dataclass(frozen=True)
class Gathered:
    """What the frames need of each record; all lists have the same order.

    Attributes:
        rows: Where it lies, what it is, how it ended, what it was trained on.
        measures: Its measures.
        flat: Its config by dotted names.
        epochs: Its history as columns [epochs].
        glimpses: What the ledger needs of it; none if results are not about to be shown.
        unreadable: What is wrong with each file that is not a record.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    measures: list[dict[str, float]] = field(default_factory=list)
    flat: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, array[float]]] = field(default_factory=list)
    glimpses: list[Glimpse] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def only(self, kept: Sequence[int]) -> Gathered:
        """Choose runs, in this order."""
        return Gathered(
            [self.rows[i] for i in kept],
            [self.measures[i] for i in kept],
            [self.flat[i] for i in kept],
            [self.epochs[i] for i in kept],
            [self.glimpses[i] for i in kept if self.glimpses],
            self.unreadable,
        )

    def add(self, other: Gathered) -> None:
        """Add further runs."""
        self.rows.extend(other.rows)
        self.measures.extend(other.measures)
        self.flat.extend(other.flat)
        self.epochs.extend(other.epochs)
        self.glimpses.extend(other.glimpses)
        self.unreadable.extend(other.unreadable)


def gather(paths: Paths, target: float | None, *, shown: bool = False) -> Gathered:
    """Read all records below some paths. Files that do not read are listed, not raised.

    Args:
        paths: A run's folder, a sweep's, or any above; or several of them.
        target: Validation error for `epochs_to_target`, a fraction.
        shown: Whether results are about to be shown, so that the ledger needs a glimpse of each.

    Raises:
        AblateError: No record below the paths reads.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    folders = [folder for p in named for folder in record.find(Path(p))]
    if len(named) > 1:  # one path alone lists no folder twice
        folders = list({folder.resolve(): folder for folder in folders}.values())
    if not named:
        raise AblateError("the list of paths is empty: name the folder of a run or a sweep")
    if lost := [Path(p) for p in named if not folders or not Path(p).exists()]:
        raise AblateError(*map(record.none_below, lost))
    parts = [folders[i : i + _AT_ONCE] for i in range(0, len(folders), _AT_ONCE)]
    work = partial(_read, target=target, shown=shown)
    gathered = Gathered()
    for some in spread_out(work, parts, cores=None if len(folders) >= _MANY else 1):
        gathered.add(some)
    if not gathered.rows:
        raise AblateError(*gathered.unreadable)
    return gathered


def first_of_each(gathered: Gathered) -> tuple[list[int], list[int]]:
    """Divide runs into one per key (a finished one, else the first) and further copies."""
    best: dict[str, int] = {}
    for i, row in enumerate(gathered.rows):
        held = best.setdefault(row["key"], i)
        if row["status"] == "finished" and gathered.rows[held]["status"] != "finished":
            best[row["key"]] = i
    kept = sorted(best.values())
    return kept, sorted(set(range(len(gathered.rows))) - set(kept))


def _read(folders: Sequence[Path], target: float | None, shown: bool) -> Gathered:
    gathered = Gathered()
    for folder in folders:
        try:
            read = record.read_and_check(folder)
            if read is not None:  # else it was just set aside
                found, is_as_written = read
                _add(gathered, folder, record.whole(folder, found), target)
                if shown:
                    gathered.glimpses.append(glimpse.of(found, is_as_written))
        except AblateError as error:
            gathered.unreadable.extend(error.faults)
    return gathered


def _add(gathered: Gathered, folder: Path, found: record.Record, target: float | None) -> None:
    try:
        measures = measure(found, target)
        row = _row(folder, found, measures)
        epochs = _columns(found["history"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        place = folder / record.RECORD
        raise AblateError(
            f"{place} is not a record of ablate: reading it raised {error!r}"
        ) from error
    flat = schema.flatten(found["config"])
    if flat.get("data.name") == "folder":
        flat.setdefault("data.split_by", "order")  # there was no other way
    gathered.rows.append(row)
    gathered.measures.append(measures)
    # Names are the same text in every record: one copy of each is enough.
    gathered.flat.append({sys.intern(name): value for name, value in flat.items()})
    gathered.epochs.append(epochs)


def _row(folder: Path, found: record.Record, measures: Mapping[str, float]) -> dict[str, Any]:
    about = found["environment"]
    data = about.get("data", {})
    return {
        "path": str(folder),
        **{name: found.get(name) for name in ("key", "study", "arm", "seed", "reason")},
        "status": record.status_now(folder, found["status"]),
        "at_chance": _at_chance(measures, data),
        "parameters": found.get("parameters"),
        "epochs_done": len(found["history"]),
        "train_images": data.get("sizes", {}).get("train"),
        "test_images": data.get("sizes", {}).get("test"),
        "data_digest": data.get("digest"),
        "commit": about.get("commit"),
        "dirty": about.get("dirty"),
        "code": _code(record.code_in(found)),
        "hardware": about.get("device"),
        "machine": (about.get("platform"), about.get("device")),
        "stack_width": about.get("stack", {}).get("width"),
        "span": (found["timing"].get("started"), found["timing"].get("finished")),
    }


def _code(found: record.Code | None) -> dict[str, str]:
    """Join the user's own files and packages that a run used, with their versions."""
    return {} if found is None else {**found["files"], **found["packages"]}


def _at_chance(measures: Mapping[str, float], data: Mapping[str, Any]) -> bool | None:
    """Tell whether a run stayed at chance; None if its record does not say what chance is."""
    accuracy, share = measures.get("val/accuracy", nan), data.get("largest_class")
    if share is None or isnan(accuracy):
        return None
    return outcomes.is_at_chance(accuracy, data["sizes"]["val"], share)


def _columns(entries: Sequence[Mapping[str, Any]]) -> dict[str, array[float]]:
    """Turn a history into columns of numbers: eight bytes each, where an object takes sixty."""
    merged: dict[str, Any] = {}
    for entry in entries:
        merged.update(entry)
    return {sys.intern(name): _numbers([entry.get(name) for entry in entries]) for name in merged}


def _numbers(values: list[Any]) -> array[float]:
    known = [nan if value is None else value for value in values] if None in values else values
    return array("d", known)
