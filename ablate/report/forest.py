"""The forest plot that opens a report: one row per claim or arm, its interval against 0 and ±δ.

Each row is a small SVG whose x coordinates are percentages, so that the page can stretch it: text
keeps its size on a phone, and colours follow the page's light or dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as html

import numpy as np
from matplotlib.ticker import MaxNLocator

from ablate.metrics import metric_of
from ablate.report import escape, wording
from ablate.report.compare import Comparison
from ablate.report.formatting import written
from ablate.report.result import Line

_MOST_ROWS = 24
_MOST_DOTS = 60  # seeds drawn in a row
_EDGE = 3.0  # % of the width left empty on either side
_FAR = 3.0  # an interval that is this many times wider than everything else ends in an arrow
_TICKS = 6


@dataclass(frozen=True)
class Row:
    """A claim or an arm.

    Attributes:
        name: The claim's words, or the arm's name.
        told: The verdict, or the description of the difference.
        tone: What decides its colour: good, bad, small, open.
        numbers: The difference and its interval.
        svg: The drawing.
    """

    name: str
    told: str
    tone: str
    numbers: str
    svg: str


@dataclass(frozen=True)
class Panel:
    """The rows that share an axis.

    Attributes:
        title: What is compared, with its unit.
        below: What lies left of the zero line; `above` lies right of it.
        rows: In the order of the report.
        axis: The drawing of the axis.
        margin: The smallest difference that matters, in words; empty without one.
    """

    title: str
    below: str
    above: str
    rows: tuple[Row, ...]
    axis: str
    margin: str


@dataclass(frozen=True)
class _Scale:
    """An axis of differences, or of ratios, which are placed by their logarithms."""

    low: float
    high: float
    ratio: bool

    def at(self, value: float) -> float:
        """Place a value, in % of the width; values beyond the ends stay at the ends."""
        share = (self.of(value) - self.low) / (self.high - self.low)
        return _EDGE + (100 - 2 * _EDGE) * min(1.0, max(0.0, share))

    def of(self, value: float) -> float:
        return math.log(value) if self.ratio else value


def panels(comparison: Comparison) -> list[Panel]:
    """Draw the claims or, without claims, the arms. Rows of one metric share an axis.

    Returns:
        The panels; none where no row has an interval or an order.
    """
    named: list[tuple[str, Line]]
    if comparison.claimed:
        named = [
            (c.words or wording.finding(line, None, comparison.baseline), line)
            for c, line in comparison.claimed
        ]
    else:
        few = comparison.foremost(_MOST_ROWS)
        named = [
            (comparison.labels[line.arm], line) for line in comparison.others if line.arm in few
        ]
    groups: dict[tuple[str, str], list[tuple[str, Line]]] = {}
    for name, line in named:
        asked = wording.what(line)
        groups.setdefault((asked.metric, asked.statistic), []).append((name, line))
    return [_panel(comparison, group) for group in groups.values()]


def seeds_of(comparison: Comparison, line: Line) -> Mapping[str, float]:
    """Return the difference at each seed that both arms share, if there are few."""
    asked, runs = wording.what(line), comparison.runs
    if not line.paired or line.untrained or asked.statistic == "spread" or line.pairs > _MOST_DOTS:
        return {}
    sides = []
    for arm, metric in ((asked.arm, asked.metric), (asked.against, asked.against_metric)):
        if metric not in runs:
            return {}
        own = runs[(runs["arm"] == arm) & (runs["status"] == "finished")]
        sides.append(own.drop_duplicates("replicate").set_index("replicate")[metric].astype(float))
    found = (sides[0] - sides[1]).dropna()
    return {str(seed): float(value) for seed, value in found.items() if np.isfinite(value)}


def _panel(comparison: Comparison, named: Sequence[tuple[str, Line]]) -> Panel:
    lines = [line for _, line in named]
    asked, unit = wording.what(lines[0]), wording.unit_of_change(lines[0])
    ratio = asked.statistic == "spread"
    baseline = comparison.labels[comparison.baseline]
    dots = {i: seeds_of(comparison, line) for i, line in enumerate(lines)}
    scale = _scale(lines, [value for some in dots.values() for value in some.values()], ratio)
    rows = tuple(
        Row(
            name,
            wording.judged(line) if wording.is_claimed(line) else wording.described(line),
            wording.tone(line),
            _numbers(line),
            _drawn(
                line, scale, dots[i], wording.finding(comparison.labelled(line), None, baseline)
            ),
        )
        for i, (name, line) in enumerate(named)
    )
    name = f", {unit.difference}" if unit.difference and not ratio else ""
    about = (
        f"ratio of {wording.statistic_of(lines[0])}" if ratio else wording.statistic_of(lines[0])
    )
    margins = {line.margin for line in lines if not math.isnan(line.margin)}
    shown = " or ".join(f"{written(one, unit)} {unit.difference}".strip() for one in margins)
    better = None if ratio else metric_of(asked.metric).better
    sides = {"lower": ("better", "worse"), "higher": ("worse", "better")}
    below, above = sides.get(better or "", ("lower", "higher"))
    return Panel(f"Difference in {about}{name}", below, above, rows, _axis(scale, unit), shown)


def _numbers(line: Line) -> str:
    if line.untrained:
        return "by order only"
    if math.isnan(line.delta):
        return ""
    unit = wording.unit_of_change(line)
    told = written(line.delta, unit, signed=True)
    if math.isnan(line.delta_low):
        return told
    ends = [written(end, unit, signed=True) for end in (line.delta_low, line.delta_high)]
    return f"{told} [{ends[0]}, {ends[1]}]"


def _scale(lines: Sequence[Line], dots: Sequence[float], ratio: bool) -> _Scale:
    """Span what is drawn. An interval that would squeeze everything else is cut off."""
    of = math.log if ratio else float
    margins = [line.margin for line in lines if not math.isnan(line.margin)]
    near = [0.0, *(of(one) for one in dots), *(s * of(m) for m in margins for s in (1, -1))]
    near += [of(line.delta) for line in lines if _known(line, ratio)]
    width = max(near) - min(near)
    ends = [
        of(end)
        for line in lines
        for end in (line.delta_low, line.delta_high)
        if math.isfinite(end) and (not ratio or end > 0)
    ]
    low, high = min([*near, *ends]), max([*near, *ends])
    if width > 0:
        low, high = max(low, min(near) - _FAR * width), min(high, max(near) + _FAR * width)
    if low == high:
        low, high = low - 1, high + 1
    return _Scale(low, high, ratio)


def _known(line: Line, ratio: bool) -> bool:
    return math.isfinite(line.delta) and (not ratio or line.delta > 0)


# -- drawing ---------------------------------------------------------------------------------------


def _drawn(line: Line, scale: _Scale, dots: Mapping[str, float], finding: str) -> str:
    rest = 1.0 if scale.ratio else 0.0
    told = f"{_numbers(line)}; {finding}"
    parts = [f'<svg class="row" role="img" aria-label="{html(escape.plain(told))}">']
    if not math.isnan(line.margin):
        ends = (1 / line.margin, line.margin) if scale.ratio else (-line.margin, line.margin)
        left, right = (scale.at(end) for end in ends)
        parts.append(
            f'<rect class="margin" x="{left:.2f}%" width="{right - left:.2f}%" height="100%"/>'
        )
    parts.append(_stroke("zero", scale.at(rest), scale.at(rest), "0", "100%"))
    parts += _seeds(line, scale, dots)
    parts += _reach(line, scale, told)
    return "".join([*parts, "</svg>"])


def _seeds(line: Line, scale: _Scale, dots: Mapping[str, float]) -> list[str]:
    unit = wording.unit_of_change(line)
    parts = []
    for i, (seed, value) in enumerate(dots.items()):
        y = 66 + 8 * (i * 0.618 % 1 * 2 - 1)  # spread out, and the same every time
        told = html(f"seed {seed}: {written(value, unit, signed=True)}")
        at = scale.at(value)
        parts.append(
            f'<circle class="seed" cx="{at:.2f}%" cy="{y:.0f}%" r="2.5">'
            f"<title>{told}</title></circle>"
        )
    return parts


def _reach(line: Line, scale: _Scale, told: str) -> list[str]:
    if not _known(line, scale.ratio) or line.untrained:
        return []
    parts = ["<g>", f"<title>{html(escape.plain(told))}</title>"]
    if math.isfinite(line.delta_low) and (not scale.ratio or line.delta_low > 0):
        left, right = scale.at(line.delta_low), scale.at(line.delta_high)
        parts.append(_stroke("reach", left, right, "36%", "36%"))
        cut = (scale.of(line.delta_low) < scale.low, scale.of(line.delta_high) > scale.high)
        for end, is_cut, mark in ((left, cut[0], "◂"), (right, cut[1], "▸")):
            if is_cut:
                parts.append(f'<text class="cut" x="{end:.2f}%" y="36%" dy="0.36em">{mark}</text>')
            else:
                parts.append(_stroke("end", end, end, "26%", "46%"))
    open_ = line.delta_low <= (1 if scale.ratio else 0) <= line.delta_high
    hollow = " hollow" if open_ or math.isnan(line.delta_low) else ""
    parts.append(f'<circle class="mean{hollow}" cx="{scale.at(line.delta):.2f}%" cy="36%" r="5"/>')
    return [*parts, "</g>"]


def _stroke(kind: str, x1: float, x2: float, y1: str, y2: str) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{y1}" y2="{y2}"/>'


def _axis(scale: _Scale, unit: object) -> str:
    """Draw the ticks: round numbers, 0 (or a ratio of 1) among them."""
    factor = 1.0 if scale.ratio else float(getattr(unit, "scale", 1))
    locate = MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values
    if scale.ratio:
        every = (0.1, 0.2, 0.33, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
        ticks = [t for t in every if scale.low <= math.log(t) <= scale.high]
    else:
        ticks = [float(t) for t in locate(scale.low * factor, scale.high * factor)]
        ticks = [t for t in ticks if scale.low * factor <= t <= scale.high * factor]
    parts = ['<svg class="axis" aria-hidden="true">']
    for tick in ticks:
        at = scale.at(tick if scale.ratio else tick / factor)
        text = f"{tick:g}" if scale.ratio or abs(tick) < 1e-12 else f"{tick:+g}"
        parts.append(_stroke("tick", at, at, "0", "5"))
        shown = text.replace("-", "\u2212") if abs(tick) >= 1e-12 else "0"
        parts.append(f'<text x="{at:.2f}%" y="19">{shown}</text>')
    return "".join([*parts, "</svg>"])
