"""The table of the effects of factors: each level against the first, and interactions."""

from __future__ import annotations

import math
from typing import Any

from ablate.metrics import metric_of
from ablate.report.compare import Comparison, records
from ablate.report.formatting import interval, knob, written
from ablate.report.result import Line
from ablate.report.table import Table, TableCell
from ablate.report.wording import described, unit_of_change
from ablate.study.claim import Compared


def effects(comparison: Comparison) -> Table:
    """Make the table of the effects of factors, one row each; there must be at least one."""
    found, metric = comparison.effects, metric_of(comparison.metric)
    unit = metric.unit.difference
    heads = ("level", "against", f"Δ{', ' if unit else ''}{unit} [interval]", "difference")
    rows = tuple(_row(one, comparison.metric) for one in records(found))
    size, level = int(found["family_size"].iloc[0]), 100 * (1 - float(found["alpha"].iloc[0]))
    note = (
        f"Each seed gives a difference in {metric.label}: a level minus the first level of"
        " its factor, averaged over the combinations of the other factors that both were run with."
        " An interaction is the change in that difference when the other factor goes from its first"
        " level to the second one named; it is not a difference between two arms."
        f" Intervals are at {level:.4g} %, so that all {size} descriptions, of arms and of effects,"
        " are right at once in 95 % of studies. Seeds with a run that is missing or did not train"
        " are left out (only the runs themselves, where cells share no seeds)."
    )
    return Table("effects", "Effects of factors", (*heads, "seeds", "left out"), rows, found, note)


def _row(one: dict[str, Any], metric: str) -> tuple[TableCell, ...]:
    unit = metric_of(metric).unit
    bounds = interval(one["low"], one["high"], unit, signed=True)
    return (
        TableCell(_named(one, "level", "interaction: ")),
        TableCell(_named(one, "first")),
        TableCell(f"{written(one['delta'], unit, signed=True)} {bounds}".strip(), one["delta"]),
        TableCell(_described(one, metric)),
        TableCell(str(one["n"]), one["n"]),
        TableCell(str(one["left_out"]), one["left_out"]),
    )


def _named(one: dict[str, Any], which: str, mark: str = "") -> str:
    """Name the levels of an effect: ``interaction: dropout.dense=0.5 × norm=batch``."""
    parts = [(one["factor"], one[which])]
    if isinstance(one["other"], str):
        parts.append((one["other"], one[f"other_{which}"]))
    named = " × ".join(f"{knob(name)}={value}" for name, value in parts)
    return f"{mark}{named}" if len(parts) > 1 else named


def _described(one: dict[str, Any], metric: str) -> str:
    """Describe an effect in the words used for arms. Neither side of an interaction is better."""
    line = Line(
        *(one["effect"], math.nan, math.nan, math.nan, one["n"], {}, math.nan),
        delta=one["delta"],
        delta_low=one["low"],
        delta_high=one["high"],
        pairs=one["n"],
        paired=one["paired"],
        description=one["description"],
        what=Compared(one["effect"], metric, one["first"], metric),
        margin=one["margin"],
    )
    if isinstance(one["other"], str) and not math.isnan(line.delta_low):
        return str(line.description).replace("δ", written(line.margin, unit_of_change(line)))
    return described(line)
