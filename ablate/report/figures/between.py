"""Figures of arms beside each other: seeds, differences, gaps, outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ablate.analyze import verdicts
from ablate.analyze.contrasts import compared
from ablate.drawing import BLACK, BLUE, COLOURS, GREY, MARKERS, ORANGE, SKY, VERMILION
from ablate.metrics import metric_of
from ablate.report.compare import Comparison
from ablate.report.figures.style import (
    Figure,
    below,
    blank,
    finished,
    height_of,
    logarithmic_if_wide,
    rows,
    wrapped,
)
from ablate.report.forest import seeds_of
from ablate.report.formatting import titled
from ablate.report.result import Line
from ablate.report.wording import compared_with, described, is_claimed, judged, what

_MOST_ROWS = 24  # arms in a figure that has a row each
_MOST_CLOUDS = len(COLOURS)
_MOST_JOINED = (4, 12)  # arms and seeds; with more, the dots of a seed are not joined
_TOLD = 18  # letters of a verdict in a line
_TEST, _TRAIN = "test/error", "train/error"
_FILLS = {
    "finished": (SKY, ""),
    "missing": ("white", ".."),
    "failed": (VERMILION, "xx"),
    "diverged": (BLACK, ""),
    "at chance": (GREY, "oo"),
    "unfinished": (ORANGE, "//"),
}


def seeds(comparison: Comparison) -> Figure:
    """Draw every run as a dot, and each arm's mean with its interval."""
    arms, metric = comparison.foremost(_MOST_ROWS), comparison.metric
    scale = metric_of(metric).unit.scale
    runs = comparison.runs
    done = runs[(runs["status"] == "finished") & runs["arm"].isin(arms) & runs[metric].notna()]
    labels = [comparison.labels[arm] for arm in arms]
    figure, axes = blank(height_of(labels))
    places = _places(done, arms)
    joined = ""
    if len(arms) <= _MOST_JOINED[0] and done["replicate"].nunique() <= _MOST_JOINED[1]:
        joined = " Thin lines join the runs of each seed."
        _join(axes, done.assign(place=places, value=done[metric] * scale))
    axes.plot(done[metric] * scale, places, "o", color=BLUE, markersize=3.5, alpha=0.6, lw=0)
    for i, line in enumerate(comparison.lines[arm] for arm in arms):
        _interval(axes, i - 0.25, line.mean * scale, line.low * scale, line.high * scale)
    middle = comparison.lines[comparison.baseline].mean
    axes.axvline(middle * scale, color=GREY, lw=1, ls="--")
    rows(axes, labels)
    lows = [comparison.lines[arm].low for arm in arms]
    logarithmic_if_wide(axes.set_xscale, axes.xaxis, [*done[metric], *lows])
    axes.set_xlabel(titled(metric))
    caption = (
        "A dot is a run, a diamond the mean over seeds with its 95 % interval; the dashed line is"
        f" the mean of the baseline, {comparison.baseline}.{joined}{comparison.choice(_MOST_ROWS)}"
    )
    data = done[["arm", "seed", "replicate", metric]]
    return finished(figure, "seeds", f"Every seed: {metric_of(metric).label}", caption, data)


def _places(done: pd.DataFrame, arms: list[str]) -> pd.Series[Any]:
    """Place each run in the row of its arm, its seeds one above the other."""
    every = {name: i for i, name in enumerate(dict.fromkeys(done["replicate"]))}
    within = done["replicate"].map(every) / max(1, len(every) - 1)
    return done["arm"].map({arm: i for i, arm in enumerate(arms)}) - 0.1 + 0.4 * within


def _join(axes: Axes, done: pd.DataFrame) -> None:
    for _, seed in done.groupby("replicate"):
        axes.plot(seed["value"], seed["place"], "-", color=BLUE, lw=0.5, alpha=0.3)


def _seeds(axes: Axes, place: float, values: Sequence[float]) -> None:
    axes.plot(values, [place + 0.25] * len(values), "o", color=GREY, ms=2.5, alpha=0.4, lw=0)


def _interval(axes: Axes, place: float, mean: float, low: float, high: float) -> None:
    if not isnan(low):
        axes.plot([low, high], [place, place], "-", color="black", lw=1.6, solid_capstyle="butt")
    axes.plot(mean, place, "D", color="black", markersize=5)


def differences(comparison: Comparison) -> Figure:
    """Draw the difference of each arm to the baseline, and of what else is claimed."""
    arms = [arm for arm in comparison.foremost(_MOST_ROWS) if arm != comparison.baseline]
    lines = {comparison.labels[arm]: comparison.lines[arm] for arm in arms}
    lines |= _claims(comparison, "mean")
    scale = metric_of(comparison.metric).unit.scale
    figure, axes = blank(height_of(list(lines)))
    axes.axvline(0, color=GREY, lw=1)
    for margin in {line.margin * scale for line in lines.values() if not isnan(line.margin)}:
        axes.axvspan(-margin, margin, color="#eeeeee", zorder=0)
    for i, line in enumerate(lines.values()):
        _seeds(axes, i, [one * scale for one in seeds_of(comparison, line).values()])
    _changes(axes, lines, scale)
    name = titled(comparison.metric, difference=True)
    axes.set_xlabel(f"Δ {name}")
    caption = (
        f"Each arm minus the baseline, {comparison.baseline}, or what its row names instead, with"
        f" the interval that decides; faint dots are seeds. {_filled(lines)}"
        f"{comparison.choice(_MOST_ROWS)}"
    )
    return finished(
        figure, "differences", "Difference to the baseline", caption, _rows_of(comparison, lines)
    )


def spreads(comparison: Comparison) -> Figure | None:
    """Draw the ratios of standard deviations that are claimed, if any are."""
    lines = _claims(comparison, "spread")
    if not lines:
        return None
    figure, axes = blank(height_of(list(lines)))
    axes.set_xscale("log")
    axes.axvline(1, color=GREY, lw=1)
    for margin in {line.margin for line in lines.values() if not isnan(line.margin)}:
        axes.axvspan(1 / margin, margin, color="#eeeeee", zorder=0)
    _changes(axes, lines, 1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("ratio of standard deviations over seeds")
    caption = (
        "Ratio of an arm's standard deviation to that of what its row names, with the interval that"
        " decides."
        f" {_filled(lines)}"
    )
    return finished(figure, "spreads", "Spread over seeds", caption, _rows_of(comparison, lines))


def _filled(lines: Mapping[str, Line]) -> str:
    """Explain the marks that are drawn."""
    told = "Filled: the interval excludes zero; hollow: it includes zero."
    margin = any(not isnan(line.margin) for line in lines.values())
    alone = any(isnan(line.delta_low) for line in lines.values())
    return (
        told
        + (" Grey: within ±δ." if margin else "")
        + (" A mark without a line has no interval." if alone else "")
    )


def _claims(comparison: Comparison, statistic: str) -> dict[str, Line]:
    """Name -> claim not shown by the comparison; of means, only the primary metric's."""
    chosen = {}
    for claim, line in comparison.claimed:
        asked = what(line)
        told = asked.is_to(comparison.baseline) or asked.statistic != statistic
        if told or (statistic == "mean" and asked.metric != comparison.metric):
            continue
        by = "" if asked.metric == comparison.metric else f", {metric_of(asked.metric).label}"
        chosen[f"{claim.arm}{by} against {compared_with(line, asked.against)}"] = line
    return chosen


def _changes(axes: Axes, lines: Mapping[str, Line], scale: float) -> None:
    for i, line in enumerate(lines.values()):
        told = wrapped(judged(line) if is_claimed(line) else described(line), _TOLD)
        beside = axes.get_yaxis_transform()
        axes.text(1.02, i, told, transform=beside, va="center", fontsize=8)
        _interval(axes, i, line.delta * scale, line.delta_low * scale, line.delta_high * scale)
        if line.description in (verdicts.WITHIN, verdicts.UNKNOWN):
            axes.plot(line.delta * scale, i, "D", color="white", markeredgecolor="black", ms=5)
    rows(axes, list(lines))


def _rows_of(comparison: Comparison, lines: Mapping[str, Line]) -> pd.DataFrame:
    """Return the contrasts that a figure shows."""
    wanted = {line.what for line in lines.values()}
    every = comparison.contrasts
    kept = [one in wanted for one in compared(every)]
    return every.loc[kept, [c for c in every if c != "primary"]]


def gap(comparison: Comparison) -> Figure | None:
    """Draw test error against training error; an arm's height above the diagonal is its gap."""
    if not {_TEST, _TRAIN} <= set(comparison.arms["metric"]):
        return None
    arms = comparison.foremost(_MOST_CLOUDS)
    test, train = comparison.of(_TEST), comparison.of(_TRAIN)
    means = [100 * side[arm].mean for arm in arms for side in (test, train)]
    known = [mean for mean in means if not isnan(mean)]
    if not known:  # every run diverged or stayed at chance
        return None
    figure, axes = blank(4.2)
    for i, arm in enumerate(arms):
        x, y, colour = train[arm], test[arm], COLOURS[i]
        axes.plot([100 * x.low, 100 * x.high], [100 * y.mean] * 2, "-", color=colour, lw=1.2)
        axes.plot([100 * x.mean] * 2, [100 * y.low, 100 * y.high], "-", color=colour, lw=1.2)
        axes.plot(
            100 * x.mean,
            100 * y.mean,
            MARKERS[i],
            color=colour,
            ms=6,
            label=wrapped(comparison.labels[arm]),
        )
    axes.plot([min(known), max(known)], [min(known), max(known)], color=GREY, lw=1, ls="--")
    axes.set_xlabel("training error, %")
    axes.set_ylabel("test error, %")
    below(figure, axes)
    caption = (
        "Means over seeds with 95 % intervals, both errors measured in evaluation mode. On the"
        " dashed line there is no gap: the vertical distance from it is the gap."
        f"{comparison.choice(_MOST_CLOUDS)}"
    )
    columns = ["arm", "metric", "n", "mean", "sd", "ci_low", "ci_high"]
    every = comparison.arms
    data = every.loc[every["metric"].isin([_TEST, _TRAIN]) & every["arm"].isin(arms), columns]
    return finished(figure, "gap", "Generalization gap", caption, data)


def outcomes(comparison: Comparison) -> Figure | None:
    """Draw how the runs of each arm ended, if any did not finish."""
    lost = [line for line in comparison.lines.values() if any(line.lost.values())]
    if not lost:
        return None
    shown = lost[:_MOST_ROWS]
    arms = [line.arm for line in shown]
    counts = [{"finished": line.n} | line.lost for line in lost]
    labels = [comparison.labels[arm] for arm in arms]
    figure, axes = blank(height_of(labels) + 0.4)
    start = [0] * len(arms)
    for kind, (fill, hatch) in _FILLS.items():
        widths = [count[kind] for count in counts[: len(arms)]]
        if any(widths):
            bars = axes.barh(range(len(arms)), widths, left=start, height=0.5, label=kind)
            for bar in bars:
                bar.set(facecolor=fill, edgecolor="black", hatch=hatch, linewidth=0.6)
        start = [a + b for a, b in zip(start, widths, strict=True)]
    rows(axes, labels)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("runs")
    below(figure, axes)
    more = f" {len(lost) - len(arms)} more arms lost runs." if len(lost) > len(arms) else ""
    caption = f"How the runs ended, for each arm that lost any.{more}"
    data = pd.DataFrame(counts).assign(arm=[line.arm for line in lost])
    return finished(figure, "outcomes", "Runs that were lost", caption, data)
