"""`ablate evaluate`: measures a saved run again, or all runs below a path.

Results go into the record under `evaluate`, by split and kind: `plain`, `views`, `dropout`,
`deletion`, `correlation`, `calibration`, `classes`, `perturbation`. A kind that is measured again
replaces its old result; other kinds and training's metrics stay as they are. Curves and pictures go
into `<run>/evaluate/` (for validation images `evaluate/val/`); those that compare several runs go
into `<path>/evaluate/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from tqdm import tqdm

from ablate import drawing, record, written
from ablate.analyze import frames
from ablate.commands.evaluate import pictures
from ablate.config.trust import UntrustedError, folder_of, remember, require_record
from ablate.errors import AblateError, DiskFullError
from ablate.measure.applicability import touch_nothing
from ablate.measure.evaluate_settings import EvaluateSettings
from ablate.measure.evaluation import Found, Say, measure
from ablate.measure.recording import add_evaluation, writing
from ablate.measure.saved import Saved, check, open_run
from ablate.report import escape
from ablate.streams import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "evaluate"
_NEEDED = ("key", "seed", "config", "active")  # of a record; its history is long
_OF_ALL = ("calibration", "deletion", "correlation", "perturbation")  # compared over runs


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        runs: A row for each run: ``path``, ``key``, ``arm``, ``seed``, then every number that was
            measured, by its path in the record's `evaluate` of this split (``views/error``,
            ``dropout/arithmetic/loss``); fractions, nats.
        frames: Name -> curves, which start with ``key``, ``arm`` and ``seed``: ``calibration``,
            ``deletion``, ``correlation``, ``perturbation``; for a single run also ``predictions``
            (a row for each image), ``worst`` (unless left out) and ``confusion``.
        figures: Name -> picture: of the single run, or of the arms side by side.
        folder: Where they were written.
        faults: Runs that could not be evaluated, and why.
        single: Whether the request was for one run.
    """

    runs: pd.DataFrame
    frames: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    folder: Path
    faults: tuple[str, ...] = ()
    single: bool = False


def evaluate(path: Path, wanted: EvaluateSettings, trust: bool = False) -> Evaluation:
    """Evaluate a run, or all runs below a path.

    Args:
        path: A run's folder, a sweep's, or any folder above.
        wanted: What to evaluate.
        trust: Whether what lies below the path is trusted from now on.

    Raises:
        UntrustedError: Every run that could be evaluated names code that is not known to be the
            user's own.
        AblateError: No run can be evaluated, or a setting has no effect on any run.
        DiskFullError: There is no space left for the results.
    """
    single = (path / record.RECORD).is_file()
    records, faults = _checked([path] if single else record.find(path), path, trust)
    if idle := touch_nothing(wanted, records.values()):
        raise AblateError(*idle)
    written.require_folder(_place(path, wanted.split))
    known = frames.read(path).runs
    arms = {} if single else dict(zip(known["key"], known["arm"], strict=True))
    done: list[_Done] = []
    with _Progress(len(records), single) as progress:
        for folder, entry in records.items():
            about = {"key": entry["key"], "seed": entry["seed"]}
            about["arm"] = arms.get(entry["key"], entry["config"]["name"])
            try:
                found, figures = _one(folder, wanted, progress.say)
            except DiskFullError:
                raise
            except AblateError as error:
                faults += error.faults
                continue
            curves = {n: f for n, f in found.frames.items() if single or n in _OF_ALL}
            done.append(_Done(folder, about, found.entries, curves, figures if single else {}))
            progress.done(folder, found)
    if not done:
        raise AblateError(*faults)
    place = {key: number for number, key in enumerate(known["key"])}  # by arm, then by seed
    done.sort(key=lambda one: place.get(one.about["key"], len(place)))
    return _together(path, wanted, done, single, tuple(faults))


@dataclass(frozen=True)
class _Done:
    """An evaluated run; of several runs, only the curves that are compared are kept."""

    folder: Path
    about: Mapping[str, Any]
    entries: Mapping[str, Any]
    frames: Mapping[str, pd.DataFrame]
    figures: dict[str, Figure]


def _together(
    path: Path,
    wanted: EvaluateSettings,
    done: Sequence[_Done],
    single: bool,
    faults: tuple[str, ...],
) -> Evaluation:
    rows = [{"path": str(d.folder), **d.about, **_numbers(d.entries)} for d in done]
    names = dict.fromkeys(name for d in done for name in d.frames)
    whole = {
        name: pd.concat(
            [_after(d.about, d.frames[name]) for d in done if name in d.frames], ignore_index=True
        )
        for name in names
    }
    runs, place, figures = pd.DataFrame(rows), _place(path, wanted.split), done[0].figures
    if not single:
        figures = pictures.of_arms(whole)
        with writing(place):
            _write(place, {"runs": runs, **whole}, figures)
    return Evaluation(runs, whole, figures, place, faults, single)


def _checked(
    folders: Iterable[Path], path: Path, trust: bool
) -> tuple[dict[Path, Mapping[str, Any]], list[str]]:
    """Read the needed parts of each record; return them, and what is wrong with other records.

    Raises:
        AblateError: There is nothing to evaluate.
    """
    records: dict[Path, Mapping[str, Any]] = {}
    faults: list[str] = []
    refused: list[str] = []
    for folder in folders:
        try:
            found = check(folder, record.read_whole(folder, checked=True))
            try:
                require_record(folder, found["config"], above=path)
            except UntrustedError as error:
                if not trust:
                    refused += error.faults
                    continue
                remember([folder_of(path, below=True)])
            records[folder] = {name: part for name, part in found.items() if name in _NEEDED}
        except AblateError as error:
            faults += error.faults
    if refused:
        more = f" (and {len(refused) - 1} more runs like it)" if len(refused) > 1 else ""
        if not records and not faults:
            raise UntrustedError(f"{refused[0]}{more}")
        faults.append(f"{refused[0]}{more}")
    if not records:
        raise AblateError(*(faults or [record.none_below(path)]))
    return records, faults


def _one(folder: Path, wanted: EvaluateSettings, say: Say) -> tuple[Found, dict[str, Figure]]:
    """Evaluate a run and write the results, while holding it against other processes."""
    with writing(folder), record.claim(folder, wait=False) as held:
        if not held:
            raise AblateError(f"{folder} is being trained or evaluated by another process")
        entry = check(
            folder, record.read_whole(folder, checked=True)
        )  # read again, now that no other process can write it
        written.require_folder(_place(folder, wanted.split))
        saved = open_run(folder, entry, wanted.device)
        found = measure(saved, wanted, say)
        say("pictures")
        figures = pictures.of_run(found.frames, _worst(saved, found, wanted.split), saved.classes)
        _write(_place(folder, wanted.split), found.frames, figures)
        add_evaluation(folder, entry, wanted.split, found.entries)
    return found, figures


def _worst(saved: Saved, found: Found, split: str) -> Any:
    """Return the worst images as they are stored, [N, C, H, W], or None if left out."""
    if "worst" not in found.frames:
        return None
    places = torch.tensor(found.frames["worst"]["image"].tolist(), device=saved.data.device)
    return saved.split(split).at(places).cpu().numpy()


def _place(folder: Path, split: str) -> Path:
    return folder / FOLDER / ("" if split == "test" else split)


def _write(place: Path, tables: Mapping[str, pd.DataFrame], figures: Mapping[str, Figure]) -> None:
    def write(folder: Path) -> None:
        for name, frame in tables.items():
            escape.spreadsheet(frame).to_csv(folder / f"{name}.csv", index=False)
        for name, figure in figures.items():
            drawing.save(figure, folder, name)

    written.put(place, FOLDER, write)


def _numbers(entries: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested entries to path -> number."""
    flat: dict[str, float] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            flat |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = value
    return flat


def _after(about: Mapping[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    front = pd.DataFrame({name: [value] * len(frame) for name, value in about.items()})
    return pd.concat([front, frame], axis=1)


class _Progress:
    """Shows progress on standard error: a bar on a terminal; with several runs, a line for each."""

    def __init__(self, runs: int, single: bool) -> None:
        self._single = single
        self._bar = tqdm(total=runs, desc="evaluate", unit=" runs", disable=None, leave=False)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def say(self, kind: str) -> None:
        """Show what is being measured."""
        self._bar.set_postfix_str(kind)

    def done(self, folder: Path, found: Found) -> None:
        """Print the result of a run."""
        self._bar.update()
        if not self._single:
            # tqdm clears its bar before the line and redraws it after, so the two do not mix.
            error = found.entries["plain"]["error"]
            tqdm.write(visible(f"{folder}: error {100 * error:.2f} %"), file=sys.stderr)
