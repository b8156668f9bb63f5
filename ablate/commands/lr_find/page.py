"""Shows a range test: a table and a plot in the terminal; files as JSON, CSV, PNG and SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from ablate import drawing, written
from ablate.commands.asking import Asked
from ablate.commands.lr_find import text_plot
from ablate.commands.printing import cell, say, show_table
from ablate.measure.lr_range import Curve
from ablate.measure.lr_tested import REPLACED
from ablate.report import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "lr_find"
_MOST = 6  # curves that a terminal can tell apart


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        frame: A row for each arm and rate: ``arm``, ``lr``, ``loss`` and ``smoothed`` (nats; NaN
            where training had diverged).
        suggestions: A row for each arm: the rates ``steepest``, ``over_ten``, ``lowest`` and
            ``diverged`` (NaN if there is none).
        figure: Loss against rate.
        folder: Where ``lr_find.json``, ``.csv``, ``.png`` and ``.svg`` are.
    """

    frame: pd.DataFrame
    suggestions: pd.DataFrame
    figure: Figure
    folder: Path


def write(asked: Asked, curves: Sequence[Curve]) -> RangeTest:
    """Write the result to `<out>/<name>/lr_find/`; an earlier result is replaced."""
    rows = [
        pd.DataFrame({"arm": c.name, "lr": c.lr, "loss": c.loss, "smoothed": c.smoothed})
        for c in curves
    ]
    frame = pd.concat(rows, ignore_index=True)
    content = {
        "settings": dict(asked.settings),
        "note": REPLACED,
        "arms": [_entry(asked, number, curve) for number, curve in enumerate(curves)],
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    made = draw(curves, str(asked.settings["mode"]))

    def write_files(folder: Path) -> None:
        escape.spreadsheet(frame).to_csv(folder / "lr_find.csv", index=False)
        (folder / "lr_find.json").write_text(text, encoding="utf-8")
        drawing.save(made, folder, "lr_find")

    folder = folder_of(asked)
    written.put(folder, FOLDER, write_files)
    found = [{"arm": curve.name, **_suggested(curve)} for curve in curves]
    return RangeTest(frame, pd.DataFrame(found).astype(_TYPES), made, folder)


def folder_of(asked: Asked) -> Path:
    """Return the folder for the results."""
    return asked.runs[0].sweep / FOLDER


_TYPES = dict.fromkeys(("steepest", "over_ten", "lowest", "diverged"), "float64")


def _suggested(curve: Curve) -> dict[str, float | None]:
    return {
        "steepest": curve.steepest,
        "over_ten": curve.over_ten,
        "lowest": curve.lowest,
        "diverged": curve.diverged,
    }


def _entry(asked: Asked, number: int, curve: Curve) -> dict[str, Any]:
    run = asked.runs[number]
    return {
        "arm": curve.name,
        "seed": run.config["seed"],
        "key": run.key,
        "optimizer": run.config["optimizer"]["name"],
        **_suggested(curve),
        **{name: _finite(getattr(curve, name)) for name in ("lr", "loss", "smoothed")},
    }


def _finite(values: Any) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


# -- the terminal ----------------------------------------------------------------------------------


def show(asked: Asked, curves: Sequence[Curve], folder: Path, console: Console) -> None:
    """Print the suggestions and the curves."""
    settings = asked.settings
    sweep = settings["mode"] == "sweep"
    length = f"{settings['steps']} steps" + ("" if sweep else f" at {settings['points']} rates")
    table = Table(title=f"learning-rate {settings['mode']}, {length}", title_justify="left")
    table.add_column("")
    table.add_column("arm", overflow="fold")
    for head in ("steepest", "minimum / 10", "minimum", "diverges at"):
        table.add_column(head, justify="right")
    for number, curve in enumerate(curves):
        mark = text_plot.MARKS[number] if number < _MOST else ""
        rates = (curve.steepest, curve.over_ten, curve.lowest, curve.diverged)
        table.add_row(mark, cell(curve.name), *map(_rate, rates))
    show_table(table, console)
    console.print(f"{'smoothed' if sweep else 'final'} training loss (nats) against learning rate")
    _, high = _heights(curves)
    drawn = [(c.lr, np.where(c.smoothed > high, high, c.smoothed)) for c in curves[:_MOST]]
    console.print(text_plot.plot(drawn, width=min(console.width, 100)), soft_wrap=True)
    if len(curves) > _MOST:
        console.print(f"the first {_MOST} arms are drawn; lr_find.png has all", highlight=False)
    for line in (REPLACED, f"written: {folder}"):
        say(console, line)


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


# -- the figure ------------------------------------------------------------------------------------


def draw(curves: Sequence[Curve], mode: str) -> Figure:
    """Draw loss against rate, with both suggestions on each curve.

    Args:
        curves: One for each arm.
        mode: ``sweep`` (each step's own loss lies faint behind the smoothed curve) or ``grid``
            (rates at which training diverged are crosses at the upper edge).
    """
    made = drawing.figure(7, 4.2)
    axis = made.subplots()
    drawing.quiet_axes([axis])
    for number, curve in enumerate(curves):
        _draw_curve(axis, curve, drawing.line(number), mode)
    axis.set(xscale="log", xlabel="learning rate", ylabel=_LABELS[mode])
    axis.set_ylim(*_heights(curves))
    marks = _SUGGESTIONS | (_DIVERGED if mode == "grid" else {})
    for label, look in marks.items():
        axis.plot([], [], color="0.2", label=label, **look)
    axis.legend(frameon=False, fontsize=8)
    return made


def _heights(curves: Sequence[Curve]) -> tuple[float, float]:
    """Choose the range of losses to show, cut off at 1.5 times the first ones."""
    whole = [c for c in curves if np.isfinite(c.smoothed).any()]
    if not whole:
        return 0.0, 1.0
    low = min(np.nanmin(c.loss) for c in whole)
    first = max(c.smoothed[np.isfinite(c.smoothed)][0] for c in whole)
    high = min(max(np.nanmax(c.smoothed) for c in whole), _CAP * first)
    room = 0.08 * (high - low) or 0.1
    return float(low - room), float(high + 2 * room)


_CAP = 1.5
_LABELS = {
    "sweep": "training loss, smoothed (nats)",
    "grid": "training loss at the end (nats)",
}
_SUGGESTIONS: dict[str, dict[str, Any]] = {
    "steepest descent": {"marker": "*", "markersize": 13, "linestyle": "none"},
    "minimum / 10": {"marker": "o", "markersize": 10, "linestyle": "none", "fillstyle": "none"},
}
_DIVERGED = {"diverged": {"marker": "x", "linestyle": "none"}}


def _draw_curve(axis: Any, curve: Curve, look: dict[str, Any], mode: str) -> None:
    colour = look["color"]
    if mode == "sweep":
        axis.plot(curve.lr, curve.loss, color=colour, linewidth=0.6, alpha=0.35)
        look = look | {"markevery": max(len(curve.lr) // 8, 1)}
    axis.plot(curve.lr, curve.smoothed, label=escape.figure(curve.name), **look)
    gone = curve.lr[np.isnan(curve.smoothed)]
    above = axis.get_xaxis_transform()  # x in rates, y as a share of the axis
    axis.plot(gone, np.full(len(gone), 0.98), "x", color=colour, transform=above, clip_on=False)
    rates = (curve.steepest, curve.over_ten)
    for rate, mark in zip(rates, _SUGGESTIONS.values(), strict=True):
        if rate is not None and curve.lr[0] <= rate:
            loss = np.interp(math.log(rate), np.log(curve.lr), curve.smoothed)
            axis.plot([rate], [loss], color=colour, **mark)
