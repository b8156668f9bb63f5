"""How figures look: colours that most eyes tell apart, with markers and lines for greyscale.

Source: Okabe & Ito 2008, "Color Universal Design" (without yellow, too faint on white).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
LINES: Final = ("-", "--", "-.", ":")
DOTS_PER_INCH: Final = 150


def line(number: int) -> dict[str, Any]:
    """Give the number-th line its colour, marker and dashes; 28 differ."""
    kinds = len(COLOURS)
    return {
        "color": COLOURS[number % kinds],
        "marker": MARKERS[number % kinds],
        "linestyle": LINES[(number // kinds + number) % len(LINES)],
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
