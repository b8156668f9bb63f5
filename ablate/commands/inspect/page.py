"""Shows an inspection: tables in the terminal; files as parquet and JSON, and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from ablate import drawing, written
from ablate.analyze.frames import write_frames
from ablate.commands.asking import Asked
from ablate.commands.inspect import pictures
from ablate.commands.inspect.pictures import MOMENTS
from ablate.commands.printing import cell, say, show_table
from ablate.measure.inspection import Inspected, Seen
from ablate.measure.signals import flat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
FOLDER = "inspect"
_MOST = 4  # runs whose tables fit side by side
_ABOUT = ["arm", "key", "seed", "moment", "step", "mode"]


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        layers: A row for each layer of each look: ``arm``, ``key``, ``seed``, ``moment``
            (``start``, ``step``, ``end``), ``step``, ``mode`` (``train``, ``eval``, or ``both`` if
            they do not differ), and the columns of `signals.Look.layers`.
        weights: The same for `signals.Look.weights`, with ``update_ratio``.
        norms: The same for `signals.Look.norms`.
        figures: ``overview``, ``activations``, ``gradients`` and, with ``every``, ``course``.
        folder: Where everything was written.
        failures: Runs that did not finish, and how they ended.
    """

    layers: pd.DataFrame
    weights: pd.DataFrame
    norms: pd.DataFrame
    figures: dict[str, Figure]
    folder: Path
    failures: tuple[str, ...] = ()


def write(asked: Asked, inspected: Inspected) -> Inspection:
    """Write the result: for one run into its folder, for several into their sweep's folder."""
    made = frames(inspected)
    text = json.dumps(_content(asked, inspected), indent=1, allow_nan=False, ensure_ascii=False)
    figures = pictures.draw(inspected.seen)

    def write_files(folder: Path) -> None:
        write_frames(made, folder)
        (folder / "inspect.json").write_text(text, encoding="utf-8")
        for name, figure in figures.items():
            drawing.save(figure, folder, name)

    folder = folder_of(asked)
    written.put(folder, FOLDER, write_files)
    failures = tuple(inspected.failures)
    return Inspection(**made, figures=figures, folder=folder, failures=failures)


def folder_of(asked: Asked) -> Path:
    """Return the folder for the results."""
    several = len(asked.runs) > 1
    return (asked.runs[0].sweep if several else asked.runs[0].directory) / FOLDER


def frames(inspected: Inspected) -> dict[str, pd.DataFrame]:
    """Make the frames that `Inspection` describes."""
    return {name: _frame(inspected, name) for name in ("layers", "weights", "norms")}


def _about(seen: Seen) -> dict[str, Any]:
    config = seen.run.config
    about = (seen.name, seen.run.key, config["seed"], seen.moment, seen.step, seen.mode)
    return dict(zip(_ABOUT, about, strict=True))


def _frame(inspected: Inspected, part: str) -> pd.DataFrame:
    rows = [{**_about(seen), **row} for seen in inspected.seen for row in getattr(seen.found, part)]
    frame = pd.DataFrame(rows, columns=None if rows else _ABOUT)
    numbers = [name for name in ("saturated", "update_ratio") if name in frame]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _content(asked: Asked, inspected: Inspected) -> dict[str, Any]:
    looks = [
        _about(seen)
        | {"signals": {n: v if math.isfinite(v) else None for n, v in flat(seen.found).items()}}
        for seen in inspected.seen
    ]
    return {"settings": dict(asked.settings), "images": inspected.images, "looks": looks}


# -- the terminal ----------------------------------------------------------------------------------


def show(asked: Asked, inspected: Inspected, folder: Path, console: Console) -> None:
    """Print tables: all statistics of one run; for several, deviations and gradient norms."""
    seen = [s for s in inspected.seen if s.mode != "eval" and s.moment in MOMENTS]
    names = list(dict.fromkeys(s.name for s in seen))
    for moment, told in MOMENTS.items():
        looks = [s for s in seen if s.moment == moment]
        for title, table in _tables(looks, len(names) > 1) if looks else ():
            say(console, f"{title}, {told}")
            show_table(table, console)
    lines = [f"not finished: {failure}" for failure in inspected.failures]
    if len(names) > _MOST:
        lines.append(f"only the first {_MOST} of {len(names)} arms; the files have all of them")
    if inspected.images < (wanted := asked.settings["images"]):
        lines.append(f"images={wanted} is more than there are: all {inspected.images} were used")
    both = any(s.mode == "eval" for s in inspected.seen)
    lines.append("in training mode" + (" (the frames hold evaluation mode, too)" if both else ""))
    for line in (*lines, f"written: {folder}"):
        say(console, line)


def _tables(looks: Sequence[Seen], several: bool) -> list[tuple[str, Table]]:
    if not several:
        name = looks[0].name
        return [
            (f"{name}: outputs of layers", _layers(looks[0])),
            (f"{name}: weights and their gradients", _weights(looks[0])),
        ]
    some = looks[:_MOST]
    return [
        ("sd of outputs (and saturated share)", _compared(some, "layers")),
        ("norm of gradients", _compared(some, "weights")),
    ]


def _layers(seen: Seen) -> Table:
    table = _table()
    for head in ("output", "params", "MACs", "mean", "sd", "zero", "sat.", "dead"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in seen.found.layers:
        table.add_row(
            cell(row["layer"]),
            "×".join(map(str, row["shape"])),
            _count(row["parameters"]),
            _count(row["multiply_adds"]),
            _number(row["mean"]),
            _number(row["sd"]),
            *(_percent(row[name]) for name in ("zeros", "saturated", "dead")),
        )
    return table


def _weights(seen: Seen) -> Table:
    table = _table()
    for head in ("numbers", "weight sd", "grad norm", "grad sd", "update/weight"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in seen.found.weights:
        if row["matrix"]:
            table.add_row(
                cell(row["layer"]),
                _count(row["numbers"]),
                *(_number(row[name]) for name in ("weight_sd", "grad_norm", "grad_sd")),
                _number(row.get("update_ratio")),
            )
    return table


def _compared(looks: Sequence[Seen], part: str) -> Table:
    table = _table(whole=True)
    layers: dict[str, list[str]] = {}
    for number, seen in enumerate(looks):
        table.add_column(cell(seen.name), justify="right", overflow="fold")
        for row in pictures.shown(seen, part):
            cells = layers.setdefault(pictures.short(row["layer"]), ["–"] * len(looks))
            cells[number] = _number(row["sd" if part == "layers" else "grad_norm"])
            if row.get("saturated") is not None:
                cells[number] += f" {_percent(row['saturated']):>4}"
    for layer, cells in layers.items():
        table.add_row(cell(layer), *cells)
    return table


def _table(whole: bool = False) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold", no_wrap=whole)
    return table


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or 0.01 <= abs(value) < 100:
        return f"{value:.3f}" if value else "0"
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}%"


def _count(value: int) -> str:
    """Format a count in at most four characters."""
    if value < 10_000:
        return str(value) if value else "–"
    return f"{value / 1000:.0f}k" if value < 1_000_000 else f"{value / 1e6:.3g}M"
