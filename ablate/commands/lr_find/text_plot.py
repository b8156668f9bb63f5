"""Draws curves as text: a mark in each column, on a logarithmic axis, readable without colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

Numbers = NDArray[np.float64]

MARKS: Final = "●×▲■◇+"
COLOURS: Final = ("blue", "red", "green", "magenta", "yellow", "cyan")
_MARGIN = 8  # columns left of the axis


def plot(curves: Sequence[tuple[Numbers, Numbers]], width: int = 78, height: int = 14) -> Text:
    """Draw curves.

    Args:
        curves: x (positive, rising) and y of each; NaN is not drawn.
        width: Columns of text, axis included.
        height: Rows of the picture, without the axis.

    Returns:
        The picture. Curve number i has mark i of `MARKS`; where curves meet, the first one shows.
    """
    logs = {i: (np.log10(x), y) for i, (x, y) in enumerate(curves) if np.isfinite(y).any()}
    if not logs:
        return Text("(no finite loss to draw)")
    low, high = (f(f(y[np.isfinite(y)]) for _, y in logs.values()) for f in (min, max))
    left, right = (f(f(x) for x, _ in logs.values()) for f in (min, max))
    columns = width - _MARGIN - 1
    cells: dict[tuple[int, int], int] = {}
    for number, (x, y) in logs.items():
        at = np.interp(np.linspace(left, right, columns), x, y, left=math.nan, right=math.nan)
        for column, value in enumerate(at):
            if math.isfinite(value):
                row = round((height - 1) * (high - value) / ((high - low) or 1))
                cells.setdefault((row, column), number)
    text = Text()
    for row in range(height):
        told = high - (high - low) * row / max(height - 1, 1)
        label = f"{told:.3g}" if row in (0, height // 2, height - 1) else ""
        text.append(f"{label:>{_MARGIN - 1}} │")
        for column in range(columns):
            found = cells.get((row, column))
            if found is None:
                text.append(" ")
            else:
                text.append(MARKS[found % len(MARKS)], COLOURS[found % len(COLOURS)])
        text.append("\n")
    return text.append(_axis(left, right, columns))


def _axis(left: float, right: float, columns: int) -> str:
    """Draw the x axis: a tick at each power of ten, labelled where there is room."""
    line, names = ["─"] * columns, [" "] * (columns + _MARGIN)
    free = 0
    for power in range(math.ceil(left - 1e-9), math.floor(right + 1e-9) + 1):
        column = round((columns - 1) * (power - left) / ((right - left) or 1))
        line[column] = "┬"
        name = f"1e{power}"
        start = min(max(column - len(name) // 2, 0), columns - len(name))
        if start >= free:
            names[start : start + len(name)] = name
            free = start + len(name) + 1
    pad = " " * _MARGIN
    return f"{pad}└{''.join(line)}\n{pad} {''.join(names).rstrip()}"
