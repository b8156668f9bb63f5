"""A forest plot in text: one row per arm or claim, with its interval against 0 and ±δ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ablate.metrics import Unit
from ablate.report.formatting import written
from ablate.report.result import Line
from ablate.report.table import Table, TableCell
from ablate.report.wording import unit_of_change

LEAST, MOST = 24, 48  # columns
MEAN: Final = "●"
_ZERO, _BAND, _REACH, _ENDS, _CROSSED = "│", "░", "─", ("├", "┤"), "┼"
MARKS: Final = "".join((_ZERO, _BAND, _REACH, *_ENDS, _CROSSED, MEAN))
_IN_MARGINS: Final = Unit(1, 1, "δ", "δ")
_PLACE: Final = 3  # of the column


@dataclass(frozen=True)
class _Bar:
    """What is drawn of a line; a `margin` of 0 means none."""

    delta: float
    low: float
    high: float
    margin: float


@dataclass(frozen=True)
class _Axis:
    """A scale over a number of columns."""

    low: float
    high: float
    columns: int

    def at(self, value: float) -> int:
        """Return the column of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(share * (self.columns - 1))

    def head(self, unit: Unit) -> str:
        """Write 0, and both ends if there is room."""
        name = unit.name if unit is _IN_MARGINS else ""
        line = [" "] * self.columns
        line[self.at(0)] = "0"
        for end, is_low in ((self.low, True), (self.high, False)):
            text = f"{written(end, unit, signed=True)}{name}"
            start = 0 if is_low else self.columns - len(text)
            if end and all(mark == " " for mark in line[start : start + len(text)]):
                line[start : start + len(text)] = text
        return "".join(line)


def with_forest(table: Table, lines: Sequence[Line], columns: int) -> Table | None:
    """Give a table one more column, the plot.

    Args:
        table: Of arms or claims; its third column is the difference.
        lines: What its rows show, in order.
        columns: Width of the plot.

    Returns:
        The table, or None if nothing can be drawn on one scale. Differences of several metrics
        share the scale of their δ, if each has one; a ratio of spreads has its own.
    """
    told = [line for line in lines if line.what is not None and not math.isnan(line.delta_low)]
    if not told or columns < LEAST or any(not unit_of_change(line).signed for line in told):
        return None
    metrics = {line.what.metric for line in told if line.what is not None}
    in_margins = len(metrics) > 1
    if in_margins and any(math.isnan(line.margin) for line in told):
        return None
    unit = _IN_MARGINS if in_margins else unit_of_change(told[0])
    bars = [_bar(line, in_margins) for line in lines]
    ends = [b for x in bars if x is not None for b in (x.low, x.high, x.margin, -x.margin)]
    if not all(map(math.isfinite, ends)) or not any(ends):
        return None
    axis = _Axis(min(0, *ends), max(0, *ends), min(columns, MOST))
    rows = tuple(
        (*row[:_PLACE], TableCell(_drawn(axis, bar)), *row[_PLACE:])
        for row, bar in zip(table.rows, bars, strict=True)
    )
    heads = (*table.heads[:_PLACE], axis.head(unit), *table.heads[_PLACE:])
    return replace(table, heads=heads, rows=rows, picture=_PLACE)


def legend(table: Table) -> str:
    """Explain the symbols of a plot."""
    band = f", ±δ ({_BAND})" if any(_BAND in row[_PLACE].text for row in table.rows) else ""
    return (
        f"{_ENDS[0]}{_REACH}{MEAN}{_REACH}{_ENDS[1]}: Δ and its interval, against 0 ({_ZERO}){band}"
    )


def _bar(line: Line, in_margins: bool) -> _Bar | None:
    if line.what is None or math.isnan(line.delta_low):
        return None
    size = line.margin if in_margins else 1
    margin = 0 if math.isnan(line.margin) else line.margin
    return _Bar(line.delta / size, line.delta_low / size, line.delta_high / size, margin / size)


def _drawn(axis: _Axis, bar: _Bar | None) -> str:
    marks, zero = [" "] * axis.columns, axis.at(0)
    if bar is not None and bar.margin:
        for column in range(axis.at(-bar.margin), axis.at(bar.margin) + 1):
            marks[column] = _BAND
    marks[zero] = _ZERO
    if bar is not None:
        first, last = axis.at(bar.low), axis.at(bar.high)
        for column in range(first, last + 1):
            marks[column] = _CROSSED if column == zero else _REACH
        if last > first:
            marks[first], marks[last] = _ENDS
        marks[axis.at(bar.delta)] = MEAN
    return "".join(marks)
