"""The cards of a report: what was asked, what was trained, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.analyze.factors import factors_of
from ablate.metrics import metric_of
from ablate.report import wording
from ablate.report.compare import COST, Comparison
from ablate.report.formatting import knob, level, ranges, written
from ablate.report.provenance import Origin

_MOST = 24  # arms or claims on a card
_SAID = "as its name says"


@dataclass(frozen=True)
class Card:
    """A card: a title, and lines of a name (which may be empty) and its text."""

    title: str
    lines: tuple[tuple[str, str], ...]


def cards(comparison: Comparison, origin: Origin) -> list[Card]:
    """Make the cards of a report."""
    return [_asked(comparison), _trained(comparison), _cost(comparison, origin)]


def _asked(comparison: Comparison) -> Card:
    metric = metric_of(comparison.metric)
    lines = []
    side = f" ({metric.better} is better)" if metric.better else ""
    lines.append(("compared by", f"{metric.label}{side}"))
    for claim, line in comparison.claimed[:_MOST]:
        unit = wording.unit_of_change(line)
        least = "" if claim.margin is None else f"; δ = {written(claim.margin, unit)}"
        size = f"{least} {unit.difference}".rstrip() if least else ""
        source = f"; {claim.source}" if claim.source else ""
        words = claim.words or f"{claim.arm}: {claim.direction}"
        lines.append(("claim", f"{words} ({wording.statistic_of(line)}{size}{source})"))
    if not comparison.claimed:
        lines.append(("claims", "none: what came out is described, not judged"))
    return Card("What was asked", tuple(lines))


def _trained(comparison: Comparison) -> Card:
    """List what each arm sets differently from the baseline."""
    runs = comparison.runs
    names = factors_of(runs)
    first = runs.drop_duplicates("arm").set_index("arm")
    base = first.loc[comparison.baseline]
    lines = []
    for arm in list(comparison.lines)[:_MOST]:
        label = comparison.labels[arm]
        if arm == comparison.baseline:
            lines.append((label, "the baseline" if label == arm else arm))
            continue
        sets = [
            _set(name, first.loc[arm][name]) for name in names if _differs(first, arm, base, name)
        ]
        tuned = comparison.asked.tuned.get(arm)
        told = ", ".join(one for one in sets if one) or "nothing but the seed"
        lines.append((label, told if told.replace(", ", " ") != label else _SAID))
        if tuned:
            lines.append(("", f"tuned: {tuned}"))
    if (left := len(comparison.lines) - _MOST) > 0:
        lines.append(("", f"and {left} more arms"))
    return Card("What was trained", tuple(lines))


def _differs(first: pd.DataFrame, arm: str, base: Any, name: str) -> bool:
    mine: Any = first[name].to_dict()[arm]
    theirs: Any = base[name]
    if pd.isna(mine):
        return not pd.isna(theirs)
    return bool(mine != theirs)


def _set(name: str, value: Any) -> str:
    return "" if pd.isna(value) else f"{knob(name)}={level(value)}"


def _cost(comparison: Comparison, origin: Origin) -> Card:
    runs = comparison.runs
    seeds = sorted({int(seed) for seed in runs["seed"]})
    lines = [
        ("runs", f"{len(runs):,}, over {'seeds' if len(seeds) > 1 else 'seed'} {ranges(seeds)}")
    ]
    if COST in runs and runs[COST].notna().any():
        unit = metric_of(COST).unit
        lines.append(("training", _time(float(runs[COST].sum()))))
        means = [line.seconds for line in comparison.lines.values() if line.seconds == line.seconds]
        if means:
            low, high = (written(end, unit) for end in (min(means), max(means)))
            lines.append(("a run", f"{low} s" if low == high else f"{low} to {high} s, by arm"))
    about = dict(origin.environment)
    lines += [(name, about[name]) for name in ("device", "data set", "images") if name in about]
    return Card("What it cost", tuple(lines))


def _time(seconds: float) -> str:
    for size, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.1f} s"
