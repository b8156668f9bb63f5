"""Draws the interval of a claim, small enough for a line of a table.

Each picture is scaled by the claim's δ: the shaded band is ±δ and the thin line is 0, so that
points, nats and ratios can be read side by side. Colours work on light and dark backgrounds.
"""

from __future__ import annotations

import math
from typing import Final

from ablate.report.result import Line
from ablate.report.wording import tone, what

WIDTH: Final = 160
_HEIGHT: Final = 16
_REACH: Final = 4.0  # δ on either side; an interval that goes further ends in an arrow
_COLOURS: Final = {"good": "#2a8a57", "bad": "#c8442f", "small": "#64748b", "open": "#a8761c"}


def picture(line: Line) -> str:
    """Draw a claim's interval as an SVG.

    Args:
        line: The claim, as the report judges it. Without a δ, its interval fills the width.
    """
    colour = _COLOURS.get(tone(line), _COLOURS["open"])
    middle = _HEIGHT / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{_HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {_HEIGHT}">'
    ]
    unit = _unit(line)
    if not math.isnan(line.margin):
        left, right = _at(-1.0), _at(1.0)
        parts.append(
            f'<rect x="{left:.1f}" width="{right - left:.1f}" height="{_HEIGHT}" fill="#8886"/>'
        )
    parts.append(f'<path d="M{_at(0):.1f} 0V{_HEIGHT}" stroke="#888"/>')
    values = [_of(line, value) / unit for value in (line.delta_low, line.delta, line.delta_high)]
    if all(map(math.isfinite, values)):
        low, mean, high = values
        parts.append(
            f'<path d="M{_at(low):.1f} {middle}H{_at(high):.1f}" stroke="{colour}"'
            ' stroke-width="2"/>'
        )
        parts += [
            f'<path d="M{_at(end):.1f} {middle}l{-4 * side} -4v8z" fill="{colour}"/>'
            for end, side in ((low, -1), (high, 1))
            if side * end > _REACH
        ]
        if abs(mean) <= _REACH:
            parts.append(f'<circle cx="{_at(mean):.1f}" cy="{middle}" r="3.5" fill="{colour}"/>')
    return "".join([*parts, "</svg>\n"])


def _unit(line: Line) -> float:
    """Return the unit of the scale: δ, or what makes the interval fill the width."""
    if not math.isnan(line.margin):
        return _of(line, line.margin)
    ends = [abs(_of(line, end)) for end in (line.delta_low, line.delta_high)]
    largest = max((end for end in ends if math.isfinite(end)), default=0.0)
    return largest / _REACH or 1.0


def _of(line: Line, value: float) -> float:
    """Return the value to draw: for a ratio of spreads, its logarithm."""
    if what(line).statistic != "spread":
        return value
    return math.log(value) if value > 0 else math.nan


def _at(steps: float) -> float:
    """Return the position of a value in pixels, clipped to the ends."""
    share = (min(_REACH, max(-_REACH, steps)) + _REACH) / (2 * _REACH)
    return 4 + (WIDTH - 8) * share
