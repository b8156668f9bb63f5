"""The style of all figures: colours, markers and dashes, and how a figure is saved.

The colours are Okabe and Ito's, which readers with the common kinds of colour blindness can tell
apart; their yellow is left out, since it is hard to see on white. Markers and dashes differ too, so
lines can be told apart in greyscale.

Source: Okabe & Ito 2008, Color Universal Design, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLACK: Final = "#000000"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREY: Final = "#767676"  # for the background; never a line's colour
COLOURS: Final = (BLACK, BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE, SKY)
MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X")
DASHES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 1)))
DOTS_PER_INCH: Final = 150


def line(number: int) -> dict[str, Any]:
    """Return colour, marker and dashes of line number i; 49 lines differ."""
    kinds = len(COLOURS)
    return {
        "color": COLOURS[number % kinds],
        "marker": MARKERS[number % kinds],
        "linestyle": DASHES[(number // kinds + number) % len(DASHES)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def figure(width: float, height: float) -> Figure:
    """Make an empty figure of this size in inches, without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(made: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as `<name>.png` and `<name>.svg`; return the files."""
    files = [folder / f"{name}.{ending}" for ending in ("png", "svg")]
    engine = made.get_layout_engine()
    try:
        for file in files:
            made.savefig(file, dpi=DOTS_PER_INCH)
            made.set_layout_engine(
                "none"
            )  # the layout is settled; computing it again would take as long
    finally:
        made.set_layout_engine(engine)
    return files


def quiet_axes(axes: Iterable[Any]) -> None:
    """Draw a light grid, and hide the frame at the top and on the right."""
    for axis in axes:
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
