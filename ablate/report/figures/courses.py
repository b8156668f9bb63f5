"""Figures of courses: over epochs, over a dose, over two factors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ablate.drawing import COLOURS, DASHES, MARKERS
from ablate.metrics import Unit, metric_of
from ablate.report.compare import Comparison, records
from ablate.report.figures.style import (
    Figure,
    below,
    blank,
    finished,
    logarithmic,
    logarithmic_if_wide,
    wrapped,
)
from ablate.report.formatting import knob, level, titled, written

_MOST = len(COLOURS)  # curves that can be told apart
_FAR = 20.0  # an axis is logarithmic above this ratio of the largest dose to the smallest


def curves(comparison: Comparison, metric: str, frame: pd.DataFrame) -> Figure:
    """Draw a metric over epochs: the mean over seeds, with its 95 % interval as a band."""
    arms = comparison.foremost(_MOST)
    shown = frame[frame["arm"].isin(arms)]
    figure, axes = blank(3.6)
    scale = metric_of(metric).unit.scale
    for i, arm in enumerate(arms):
        part = shown[shown["arm"] == arm]
        label, alone = comparison.labels[arm], part["epoch"].nunique() < 2
        _band(axes, part["epoch"], part, scale, i, label, marked=alone)
    axes.set_xlabel("epoch")
    axes.set_ylabel(titled(metric))
    logarithmic_if_wide(axes.set_yscale, axes.yaxis, shown["mean"])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    below(figure, axes)
    how = _IN_TRAINING if metric.startswith("train/") else ""
    caption = (
        "Mean over seeds at each epoch; bands are 95 % t intervals of the mean. Runs that failed or"
        f" diverged count as far as they got.{how}{comparison.choice(_MOST)}"
    )
    name = f"curves-{metric.replace('/', '-')}"
    return finished(figure, name, f"Learning curves: {metric_of(metric).label}", caption, shown)


_IN_TRAINING = " Measured on an epoch's batches while training, with dropout and augmentation on."


def _band(
    axes: Axes, x: Any, part: pd.DataFrame, scale: float, i: int, label: str, marked: bool
) -> None:
    colour = COLOURS[i]
    low, high = part["ci_low"] * scale, part["ci_high"] * scale
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    marker = MARKERS[i] if marked else ""
    (line,) = axes.plot(x, part["mean"] * scale, label=wrapped(label), color=colour, lw=1.5, ms=5)
    line.set(linestyle=DASHES[i], marker=marker)


def dose(comparison: Comparison, name: str, frame: pd.DataFrame) -> Figure:
    """Draw the primary metric over the values of a knob, a line for each setting of the others."""
    metric = comparison.metric
    scale = metric_of(metric).unit.scale
    series = list(dict.fromkeys(frame["series"]))
    figure, axes = blank(3.6)
    doses = sorted(frame["dose"].unique())
    positive = [one for one in doses if one > 0]
    spread = bool(positive) and positive[-1] / positive[0] > _FAR
    # A logarithmic axis has no place for zero, so the doses are spaced equally.
    places = (
        {one: i for i, one in enumerate(doses)} if spread and len(positive) < len(doses) else {}
    )
    for i, setting in enumerate(series[:_MOST]):
        part = frame[frame["series"] == setting]
        x = part["dose"].map(places) if places else part["dose"]
        _band(axes, x, part, scale, i, setting, marked=True)
    if places:
        axes.set_xticks(list(places.values()), [f"{one:g}" for one in places])
    elif spread:
        logarithmic(axes.set_xscale, axes.xaxis)
    axes.set_xlabel(name)
    axes.set_ylabel(titled(metric))
    ends = [*frame["mean"], *frame["ci_low"]]
    logarithmic_if_wide(axes.set_yscale, axes.yaxis, ends)
    if series != [""]:
        below(figure, axes)
    even = " Values are equally spaced." if places else ""
    more = f" {len(series) - _MOST} more settings are in the data." if len(series) > _MOST else ""
    caption = (
        f"Mean over seeds at each value of {name}; bands are 95 % t intervals of the mean. Each"
        f" line is one setting of the other knobs.{even}{more}"
    )
    return finished(figure, f"dose-{_file(name)}", f"Response to {name}", caption, frame)


def heat_map(comparison: Comparison, pair: tuple[str, str], frame: pd.DataFrame) -> Figure:
    """Draw the mean of each combination of two knobs, with its interval."""
    unit = metric_of(comparison.metric).unit
    frame = frame.dropna(subset=list(pair))  # an option may lack the other knob
    order = [comparison.runs[name].drop_duplicates().dropna() for name in pair]
    table = frame.pivot(index=pair[0], columns=pair[1], values="mean") * unit.scale
    table = table.reindex(index=[v for v in order[0] if v in table.index])
    table = table[[v for v in order[1] if v in table.columns]]
    numbers = table.to_numpy(float)
    figure, axes = blank(0.9 + 0.62 * len(table))
    image = axes.imshow(numbers, cmap="cividis", aspect="auto")
    figure.colorbar(image, ax=axes, label=titled(comparison.metric))
    axes.set_xticks(range(table.shape[1]), [wrapped(level(value)) for value in table.columns])
    axes.set_yticks(range(table.shape[0]), [wrapped(level(value)) for value in table.index])
    axes.set_xlabel(knob(pair[1]))
    axes.set_ylabel(knob(pair[0]))
    for spine in axes.spines.values():
        spine.set_visible(False)
    middle = float(np.nanmin(numbers) + np.nanmax(numbers)) / 2
    rows = {value: i for i, value in enumerate(table.index)}
    columns = {value: i for i, value in enumerate(table.columns)}
    size = 8 if table.shape[1] <= 5 else 6
    for cell in records(frame):
        place = columns[cell[pair[1]]], rows[cell[pair[0]]]
        dark = cell["mean"] * unit.scale < middle
        axes.text(*place, _told(cell, unit), ha="center", va="center", fontsize=size,
                  color="white" if dark else "black")  # fmt: skip
    others = len(comparison.lines) > len(frame)
    caption = (
        f"Mean over runs that trained{' (other knobs are averaged over)' if others else ''}, with"
        " half the width of its 95 % interval and the number of runs; runs that failed or did not"
        " train are left out. A blank cell has no run that trained."
    )
    name = f"heat-{_file(pair[0])}-{_file(pair[1])}"
    return finished(figure, name, " and ".join(map(knob, pair)), caption, frame)


def _told(cell: Mapping[str, Any], unit: Unit) -> str:
    half = (cell["ci_high"] - cell["ci_low"]) / 2
    about = "" if math.isnan(half) else f"\n± {written(half, unit)}"
    return f"{written(cell['mean'], unit)}{about}\nn = {int(cell['n'])}"


def _file(name: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in name)
