"""How a report's figures look: one width, the same bytes at every drawing.

Letters are drawn as paths, so that a figure looks the same where other fonts are installed.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ablate.report import escape

WIDTH: Final = 4.8  # inches: letters are still about 9 pixels high on a phone
DPI: Final = 200
_WIDE: Final = 8.0  # ratio of the largest value to the smallest
_MOST_DECADES: Final = 4  # of an axis with three numbers each
_LETTERS: Final = 30  # of an arm's name in a line
_STYLE: Final = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "ablate",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.unicode_minus": True,
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: Of its files.
        title: Over it.
        caption: Below it.
        svg: Its drawing as text.
        png: The same as pixels.
        data: What it shows.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    data: pd.DataFrame


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in our style, whatever the user's own settings of matplotlib are."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name may hold signs that the font lacks: they show as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def blank(height: float) -> tuple[Canvas, Axes]:
    """Start a figure of the usual width and some height in inches."""
    figure = Canvas(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def finished(figure: Canvas, name: str, title: str, caption: str, data: pd.DataFrame) -> Figure:
    """Save a figure as SVG and PNG, without a date."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine(None)  # as it was laid out for the first
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return Figure(
        name, title, caption, _own_ids(svg.getvalue().decode(), name), png.getvalue(), data
    )


def _own_ids(svg: str, name: str) -> str:
    """Prefix all ids with the figure's name, so that one page can hold several figures."""
    for pattern in (r'\bid="', r'href="#', r"url\(#"):
        svg = re.sub(pattern, lambda found: f"{found[0]}{name}-", svg)
    return svg


def wrapped(name: str, letters: int = _LETTERS) -> str:
    """Break an arm's name into lines of at most `letters`, at spaces if possible."""
    words = textwrap.wrap(escape.plain(name), letters, break_long_words=False)
    return "\n".join(part for word in words for part in textwrap.wrap(word, letters))


def height_of(arms: Sequence[str], each: float = 0.22) -> float:
    """Return the height in inches of a figure with one row per arm."""
    return 0.75 + sum(0.2 + each * (1 + wrapped(arm).count("\n")) for arm in arms)


def rows(axes: Axes, arms: Sequence[str]) -> None:
    """Give an axes one row per arm, the first on top."""
    axes.set_yticks(range(len(arms)), [wrapped(arm) for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def logarithmic(set_scale: Callable[[str], None], axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers at powers of ten.

    If the data span few powers, 2 and 5 times each power are numbered too.
    """
    decades = math.log10(axis.get_data_interval()[1] / axis.get_minpos())
    set_scale("log")
    few = decades <= _MOST_DECADES
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if few else LogLocator(numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def logarithmic_if_wide(
    set_scale: Callable[[str], None], axis: Axis, values: Iterable[float]
) -> None:
    """Make an axis logarithmic if one outlier would squeeze all other values together.

    Args:
        set_scale: Of the axes.
        axis: The one.
        values: What it shows, with ends of intervals; the axis stays linear unless all are > 0.
    """
    known = [value for value in values if not math.isnan(value)]
    if known and min(known) > 0 and max(known) / min(known) > _WIDE:
        logarithmic(set_scale, axis)


def below(figure: Canvas, axes: Axes) -> None:
    """Put the legend under the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=3)
