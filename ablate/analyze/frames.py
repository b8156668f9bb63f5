"""Records as pandas frames: `runs` has one row per run, `history` one per epoch.

Columns of `runs`, in this order (knobs have dots, measures slashes):

path, key, study    where the run lies, its identity, its study if it has one
arm                 as recorded, else named by what varies (`ablate.analyze.naming`)
seed, replicate     the seed; with it any pinned source, which is what pairs runs of two arms
status, reason      as recorded
at_chance           whether it stayed at chance (`ablate.analyze.outcomes`); missing if unknown
<knob>              each that varies, seeds and all (``optimizer.lr``); a list as text
<measure>           ``test/error``, ... (`ablate.metrics`), float64, fractions
parameters          weights and biases; with it `epochs_done`, both missing before training began
train_images, test_images    how many it was trained and tested on
trained_alone       whether it shared neither a stack nor the machine with another of these runs,
                    as far as records tell, to the second; missing if unknown
data_digest, commit, dirty, hardware    what it was trained on and with

Rows are sorted by arm, the arm at rest first (its knobs off, or at their defaults), then by seed.

Columns of `history`: key, arm, seed, replicate, epoch, step, lr, and every number recorded of an
epoch (``train/loss``, ``val/accuracy``, ...), with ``train/error`` and ``val/error`` beside.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablate.analyze import naming
from ablate.analyze.read_records import Gathered, Paths, first_of_each, gather
from ablate.config import schema
from ablate.streams import visible
from ablate.study.glimpse import Glimpse

_WORDS = ("path", "key", "study", "arm", "replicate", "status", "reason")
_ABOUT = ("data_digest", "commit", "hardware")
_WHOLE = ("parameters", "epochs_done", "train_images", "test_images")


@dataclass(frozen=True)
class Frames:
    """The contents of the records below some paths.

    Attributes:
        runs: One row per run.
        history: One row per epoch of a run.
        unreadable: For each file that is not a record, its name and what is wrong with it.
        copies: Folders whose run is read from another folder.
        code: Key -> the user's own code that the run used: file or package -> digest or version.
        glimpses: Folder -> what the ledger needs of its record, if results are about to be shown.
    """

    runs: pd.DataFrame
    history: pd.DataFrame
    unreadable: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    code: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    glimpses: Mapping[Path, Glimpse] = field(default_factory=dict)


def read(
    paths: Paths, *, all_knobs: bool = False, target: float | None = None, shown: bool = False
) -> Frames:
    """Read all records below some paths, each file once. Files that do not read are set aside.

    A run that lies in several folders counts once: where it finished, else where it was found
    first.

    Args:
        paths: A run's folder, a sweep's, or any above; or several of them.
        all_knobs: Give every knob a column, not only those that vary.
        target: Validation error, a fraction, for `epochs_to_target`.
        shown: Whether results are about to be shown, so that the ledger needs a glimpse of each.

    Raises:
        AblateError: No record below the paths reads.
    """
    gathered = gather(paths, target, shown=shown)
    kept, copies = first_of_each(gathered)
    return _frames(gathered.only(kept), all_knobs, tuple(gathered.rows[i]["path"] for i in copies))


def load(path: Paths, *, all_knobs: bool = False) -> pd.DataFrame:
    """Load the records of all runs below a path.

    Args:
        path: A run's folder, a sweep's, or any above; or several of them.
        all_knobs: Give every knob a column, not only those that vary.

    Returns:
        One row per run folder, with the columns listed above. A record that cannot be read is left
        out, as in a report, and a `UserWarning` names it.

    Raises:
        AblateError: No record below the path reads.

    Example:
        >>> import ablate
        >>> frame = ablate.load("results")  # doctest: +SKIP
        >>> frame.groupby("optimizer.lr")["test/error"].mean()  # doctest: +SKIP
    """
    found = _frames(gather(path, None), all_knobs, ())
    _warn(found)
    return found.runs


def history(path: Paths) -> pd.DataFrame:
    """Load what all runs below a path recorded at each epoch.

    Returns:
        One row per epoch of a run, with the columns listed above. Records that do not read are
        treated as in `load`.

    Raises:
        AblateError: No record below the path reads.

    Example:
        >>> from ablate.analyze import frames
        >>> frames.history("results").groupby("epoch")["val/error"].mean()  # doctest: +SKIP
    """
    found = read(path)
    _warn(found)
    return found.history


def _warn(found: Frames) -> None:
    for fault in found.unreadable:
        warnings.warn(visible(f"left out: {fault}"), stacklevel=3)


def only(frames: Frames, keys: Collection[str]) -> Frames:
    """Keep the runs of some keys."""
    runs, history = frames.runs, frames.history
    kept = runs[runs["key"].isin(keys)].reset_index(drop=True)
    return replace(
        frames, runs=kept, history=history[history["key"].isin(keys)].reset_index(drop=True)
    )


def with_target(frames: Frames, target: float) -> Frames:
    """Add `epochs_to_target` to runs that were read without one.

    Args:
        frames: What was read.
        target: Validation error, a fraction.
    """
    done = frames.history
    reached = done[done["val/error"] <= target] if "val/error" in done else done.iloc[:0]
    first = reached.groupby(reached["key"].astype("str"))["epoch"].min()
    epochs = frames.runs["key"].map(first).astype("float64")
    return replace(frames, runs=frames.runs.assign(epochs_to_target=epochs))


def write_frames(frames: Mapping[str, pd.DataFrame], folder: str | Path) -> list[Path]:
    """Write frames as parquet files, `<name>.parquet` each.

    Args:
        frames: Frames by name: ``runs``, ``history``, ``arms``, ``contrasts``.
        folder: Where to; created if necessary.

    Returns:
        The files.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = {Path(folder) / f"{name}.parquet": frame for name, frame in frames.items()}
    for file, frame in files.items():
        frame.to_parquet(file, index=False)
    return list(files)


def knobs_of(runs: pd.DataFrame) -> list[str]:
    """List the columns of a runs frame whose knobs can distinguish arms: no seeds, no labels.

    A user's own knobs are recognized by their dots.
    """
    named = [str(name) for name in runs if "." in str(name) or name in schema.BY_NAME]
    return [name for name in named if naming.can_matter(name)]


# -- frames ----------------------------------------------------------------------------------------


def _frames(gathered: Gathered, all_knobs: bool, copies: tuple[str, ...]) -> Frames:
    flat = naming.completed(gathered.flat)
    arm, replicate = _arms(gathered.rows, flat), naming.replicates(flat)
    rows = [
        row | {"arm": name, "replicate": pair}
        for row, name, pair in zip(gathered.rows, arm, replicate, strict=True)
    ]
    order = _order(rows, naming.ranks(flat))
    rows, flat = [rows[i] for i in order], [flat[i] for i in order]
    gathered = gathered.only(order)
    runs = pd.concat(
        [_first_columns(rows), _knobs(flat, all_knobs), _measures(gathered.measures), _about(rows)],
        axis=1,
    )
    code = {row["key"]: row["code"] for row in rows if row["code"]}
    history = _history(rows, gathered.epochs)
    seen = dict(zip((Path(row["path"]) for row in rows), gathered.glimpses, strict=False))
    return Frames(runs, history, tuple(gathered.unreadable), copies, code, seen)


def _arms(rows: Sequence[Mapping[str, Any]], flat: Sequence[naming.Flat]) -> list[str]:
    """Name arms as recorded, with the study in front where there are several."""
    studies = {row["study"] for row in rows if row["arm"] is not None}
    nameless = [one for row, one in zip(rows, flat, strict=True) if row["arm"] is None]
    found = iter(naming.names(nameless) if nameless else ())

    def name(row: Mapping[str, Any]) -> str:
        if row["arm"] is None:
            return next(found)
        return f"{row['study']}: {row['arm']}" if len(studies) > 1 else str(row["arm"])

    return [name(row) for row in rows]


def _order(rows: Sequence[Mapping[str, Any]], ranks: Sequence[naming.Rank]) -> list[int]:
    """Sort runs by arm (by the first rank of its runs), then by seed."""
    of_arm: dict[str, naming.Rank] = {}
    for row, rank in zip(rows, ranks, strict=True):
        of_arm[row["arm"]] = min(rank, of_arm.get(row["arm"], rank))

    def place(i: int) -> tuple[Any, ...]:
        row = rows[i]
        return of_arm[row["arm"]], row["arm"], row["seed"], row["replicate"], row["path"]

    return sorted(range(len(rows)), key=place)


def _first_columns(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    names = ("path", "key", "study", "arm", "seed", "replicate", "status", "reason", "at_chance")
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in names})
    return frame.astype(dict.fromkeys(_WORDS, "str") | {"seed": "int64", "at_chance": "boolean"})


def _knobs(flat: Sequence[naming.Flat], all_knobs: bool) -> pd.DataFrame:
    names = [n for n in dict.fromkeys(k for one in flat for k in one) if n != "seed"]
    columns = {name: [one.get(name) for one in flat] for name in names}
    if not all_knobs:
        columns = {n: values for n, values in columns.items() if not naming.all_equal(values)}
    return pd.DataFrame({n: _one_type(v) for n, v in columns.items()}, index=range(len(flat)))


def _one_type(values: list[Any]) -> pd.Series[Any]:
    """Give a knob one type: numbers stay numbers; among words or lists they become text."""
    some = [value for value in values if value is not None]
    if any(isinstance(value, str | list) for value in some):
        words = all(isinstance(value, str) for value in some)
        told = values if words else [None if v is None else schema.shown(v) for v in values]
        return pd.Series(told, dtype="str")
    if all(isinstance(value, bool) for value in some):
        return pd.Series(values, dtype="boolean" if len(some) < len(values) else "bool")
    if all(isinstance(value, int) for value in some):  # a seed has more digits than a float
        return pd.Series(values, dtype="Int64" if len(some) < len(values) else "int64")
    return pd.Series(values, dtype="float64")


def _measures(measures: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    names = dict.fromkeys(name for one in measures for name in one)
    columns = {n: np.array([one.get(n, nan) for one in measures], dtype=float) for n in names}
    return pd.DataFrame(columns)


def _about(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    names = (*_WHOLE, "data_digest", "commit", "dirty", "hardware")
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in names}, dtype=object)
    frame.insert(len(_WHOLE), "trained_alone", _alone(rows))
    kinds: dict[str, str] = dict.fromkeys(_ABOUT, "str") | dict.fromkeys(_WHOLE, "Int64")
    return frame.astype(kinds | dict.fromkeys(("dirty", "trained_alone"), "boolean"))


def _alone(rows: Sequence[Mapping[str, Any]]) -> list[bool | None]:
    """Tell which runs were trained alone; None where a record does not say."""
    shared = set[int]()
    last: dict[Any, tuple[str, int]] = {}  # machine -> the latest end so far, and whose it is
    known = [i for i, row in enumerate(rows) if all(row["span"])]
    for i in sorted(known, key=lambda i: rows[i]["span"]):
        (start, end), machine = rows[i]["span"], rows[i]["machine"]
        latest, other = last.get(machine, ("", i))
        if start < latest:
            shared |= {i, other}
        last[machine] = max((latest, other), (end, i))
    told = set(known)
    return [
        (row["stack_width"] == 1 and i not in shared) if i in told and row["stack_width"] else None
        for i, row in enumerate(rows)
    ]


def _history(
    rows: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, array[float]]]
) -> pd.DataFrame:
    lengths = [max(map(len, columns.values()), default=0) for columns in epochs]
    columns: dict[str, Any] = {}
    for name in ("key", "arm", "seed", "replicate"):
        values = np.repeat(np.arange(len(rows)), lengths)
        told = pd.Series([row[name] for row in rows], dtype="int64" if name == "seed" else "str")
        # Categories keep the order of the runs, so that groups by arm come in that order.
        ordered = told if name == "seed" else told.astype(pd.CategoricalDtype(list(told.unique())))
        columns[name] = ordered.take(values).reset_index(drop=True)
    frame = pd.DataFrame(columns)
    names = dict.fromkeys(["epoch", "step", "lr", *(n for columns in epochs for n in columns)])
    for name in names:
        parts = [
            np.asarray(columns[name]) if name in columns else np.full(length, nan)
            for columns, length in zip(epochs, lengths, strict=True)
        ]
        frame[name] = np.concatenate(parts) if parts else np.empty(0)
    for split in ("train", "val"):
        if f"{split}/accuracy" in frame:
            frame[f"{split}/error"] = 1 - frame[f"{split}/accuracy"]
    return frame.astype({"epoch": "int64", "step": "int64"})
