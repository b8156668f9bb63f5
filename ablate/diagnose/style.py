"""How figures of a look inside look, and how they are written; the user gets them to go on with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ablate.palette import COLOURS, DASHES, MARKERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH: Final = 150


def line(number: int) -> dict[str, Any]:
    """Give the number-th line its colour, marker and dashes; 49 differ."""
    kinds = len(COLOURS)
    return {
        "color": COLOURS[number % kinds],
        "marker": MARKERS[number % kinds],
        "linestyle": DASHES[(number // kinds + number) % len(DASHES)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def figure(width: float, height: float) -> Figure:
    """Make an empty figure, in inches; it belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(made: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as `<name>.png` and `<name>.svg`; return the files."""
    files = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
    for file in files:
        made.savefig(file, dpi=DOTS_PER_INCH)
    return files


def quiet_axes(axes: Iterable[Any]) -> None:
    """Draw a light grid, and no frame above and to the right."""
    for axis in axes:
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
