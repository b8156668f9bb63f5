"""The tables of a report, each made once for all formats."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from ablate.analyze.contrasts import CLAIMS, to_baseline
from ablate.analyze.run_measures import metrics_of
from ablate.metrics import metric_of
from ablate.report.compare import COST, Comparison, records
from ablate.report.effects import effects
from ablate.report.formatting import (
    MINUS,
    NONE,
    interval,
    p_value,
    plus_minus,
    titled,
    written,
)
from ablate.report.result import LOST, Line
from ablate.report.table import Table, TableCell
from ablate.report.wording import (
    compared_with,
    described,
    judged,
    statistic_of,
    unit_of_change,
    what,
)
from ablate.study.claim import Claim

_SECONDS = metric_of(COST).unit
_INTERVAL = "[interval]"
_DESCRIBED = "difference"
_ADJUSTED = "p (Δ = 0), adjusted"


def tables(comparison: Comparison) -> dict[str, Table]:
    """Make all tables that these runs allow, by name."""
    runs = comparison.runs
    lost = runs[runs["status"] != "finished"]
    found = [compared(comparison)]
    found += [claims(comparison)] if comparison.claimed else []
    found += [] if comparison.effects.empty else [effects(comparison)]
    found += [] if lost.empty else [_failures(lost)]
    found += [_every_metric(comparison)]
    found += [_beside(comparison)] if comparison.others else []
    return {table.name: table for table in found}


# -- the comparison --------------------------------------------------------------------------------


def compared(comparison: Comparison, brief: bool = False) -> Table:
    """Make the table of the comparison, one row per arm.

    Args:
        comparison: What was compared.
        brief: Leave out columns that say little, and put intervals on a line of their own.
    """
    columns = _columns(comparison, brief)
    quiet = _quiet(comparison) if brief else _empty(comparison)
    made = {head: make for head, make in columns.items() if head not in quiet}
    rows = tuple(tuple(make(line) for make in made.values()) for line in comparison.lines.values())
    mine = [f[f["metric"] == comparison.metric] for f in (comparison.arms, comparison.contrasts)]
    about, against = mine[0], to_baseline(mine[1], comparison.baseline)
    kept = ["arm", *(c for c in against if c not in about)]
    title = f"Arms by {titled(comparison.metric)}"
    # Columns of the contrast that share a name with the arm's get a prefix.
    names = {"n": "pairs", "ci_low": "delta_ci_low", "ci_high": "delta_ci_high"}
    both = about.merge(
        against[[*kept, *names]].rename(columns=names), on="arm", how="left", validate="1:1"
    )
    return Table("comparison", title, tuple(made), rows, both)


def _columns(comparison: Comparison, brief: bool) -> dict[str, Callable[[Line], TableCell]]:
    """Column head, with its unit -> how to make an arm's cell."""
    metric, space = comparison.metric, "\n" if brief else " "
    labels = comparison.labels
    twins = {arm: i for i, group in enumerate(comparison.identical, 1) for arm in group}
    columns: dict[str, Callable[[Line], TableCell]] = {
        "arm": lambda x: TableCell(
            labels[x.arm] + (f" (identical: {twins[x.arm]})" if x.arm in twins else "")
        ),
        titled(metric): lambda x: TableCell(_mean(x, metric, space), x.mean),
        _delta_head(metric): lambda x: _delta(x, space),
        _DESCRIBED: lambda x: TableCell(described(x)),
        "n": lambda x: TableCell(_count(x) if brief else str(x.n), x.n),
        "pairs": lambda x: TableCell(_pairs(x), x.pairs),
    }
    for word in LOST.values():
        columns[word] = _counter(word)
    if comparison.asked.tuned and not brief:
        columns["tuned"] = lambda x: TableCell(comparison.asked.tuned.get(x.arm, ""))
    return columns | {"s/run": lambda x: TableCell(written(x.seconds, _SECONDS), x.seconds)}


def _count(line: Line) -> str:
    lost = sum(line.lost.values())
    return f"{line.n} of {line.n + lost}" if lost else str(line.n)


def _counter(word: str) -> Callable[[Line], TableCell]:
    return lambda line: TableCell(str(line.lost[word]), line.lost[word])


def _delta_head(metric: str) -> str:
    """Name the column of the difference and the interval that decides."""
    name = metric_of(metric).unit.difference
    return f"Δ{f', {name}' if name else ''} {_INTERVAL}"


def _delta(line: Line, space: str) -> TableCell:
    if line.what is None:
        return TableCell("baseline", 0.0)
    if line.untrained:
        return TableCell("by order only", line.delta)
    unit = unit_of_change(line)
    bounds = interval(line.delta_low, line.delta_high, unit, signed=True)
    alone = "(one pair)" if line.pairs == 1 else ""
    text = f"{written(line.delta, unit, signed=True)}{space}{bounds or alone}".strip()
    return TableCell(text, line.delta)


def _mean(line: Line, metric: str, space: str = " ") -> str:
    return _mean_with_interval(line.mean, line.low, line.high, line.n, metric, space)


def _mean_of(one: dict[str, Any]) -> str:
    ends = one["ci_low"], one["ci_high"]
    return _mean_with_interval(one["mean"], *ends, int(one["n"]), one["metric"])


def _mean_with_interval(
    mean: float, low: float, high: float, n: int, metric: str, space: str = " "
) -> str:
    text = plus_minus(mean, low, high, metric_of(metric).unit)
    if n == 1:
        return f"{text}{space}(one seed)"
    return f"{text}{space}(no spread)" if n > 1 and math.isnan(low) else text


def _pairs(line: Line) -> str:
    if line.what is None:
        return ""
    return str(line.pairs) if line.paired else "unpaired"


def _empty(comparison: Comparison) -> set[str]:
    """Name the columns that say nothing of any arm: losses that did not occur, pairs equal to n."""
    lines = comparison.lines.values()
    empty = {word for word in LOST.values() if not any(line.lost[word] for line in lines)}
    if all(line.paired and line.pairs == line.n for line in comparison.others):
        empty |= {"pairs"}
    return empty


def _quiet(comparison: Comparison) -> set[str]:
    """Name the columns that a brief table leaves out."""
    others = comparison.others
    quiet = {*LOST.values()}  # losses are told in the column n and in the notes
    if all(line.paired for line in others):
        quiet |= {"pairs"}
    if all(described(line) == "no test" for line in others):
        quiet |= {_DESCRIBED}
    return quiet if others else quiet | {_delta_head(comparison.metric)}


def claims(comparison: Comparison, brief: bool = False) -> Table:
    """Make the table of claims, one row each.

    Args:
        comparison: What was compared.
        brief: Leave out what the claim's words say already, and put intervals on a line of their
            own.
    """
    claimed = comparison.claimed
    columns: dict[str, Callable[[Claim, Line], TableCell]] = {
        "claim": lambda claim, _: TableCell(claim.words),
        "arm": lambda claim, _: TableCell(claim.arm),
        "direction": lambda claim, _: TableCell(claim.direction),
        "against": lambda _, line: TableCell(compared_with(line, what(line).against)),
        "metric": lambda _, line: TableCell(_compared_by(line)),
        "δ": _smallest,
        f"Δ {_INTERVAL}": lambda _, line: _with_unit(line) if brief else _delta(line, " "),
        _ADJUSTED: lambda _, line: TableCell(p_value(line.p_adjusted), line.p_adjusted),
        "verdict": lambda _, line: TableCell(judged(line)),
        "source": lambda claim, _: TableCell(claim.source),
    }
    quiet = {"arm", "direction", "against", "metric", _ADJUSTED, "source"} if brief else set()
    if all(what(line).is_to(comparison.baseline) for _, line in claimed):
        quiet |= {"against"}
    made = {head: make for head, make in columns.items() if head not in quiet}
    rows = tuple(tuple(make(*one) for make in made.values()) for one in claimed)
    data = comparison.contrasts[comparison.contrasts["family"] == CLAIMS]
    return Table("claims", "Claims", tuple(made), rows, data)


def _with_unit(line: Line) -> TableCell:
    cell, unit = _delta(line, "\n"), unit_of_change(line)
    if line.untrained:
        return cell
    value, *bounds = cell.text.split("\n")
    name = unit.difference if unit.signed else "ratio"
    return TableCell("\n".join([f"{value} {name}".strip(), *bounds]), cell.number)


def _compared_by(line: Line) -> str:
    if what(line).statistic == "spread":
        return f"{statistic_of(line)}, ratio"
    return titled(what(line).metric, difference=True)


def _smallest(claim: Claim, line: Line) -> TableCell:
    unit = unit_of_change(line)
    return TableCell(NONE if claim.margin is None else written(claim.margin, unit), claim.margin)


# -- what stands beside ----------------------------------------------------------------------------


_FEW = 8  # arms that fit side by side in a table with one row per metric


def _every_metric(comparison: Comparison) -> Table:
    every = metrics_of(comparison.runs)
    metrics = [name for name in every if not metric_of(name).is_of_a_layer]
    shown = comparison.arms[comparison.arms["metric"].isin(metrics)]
    cells = {
        (one["arm"], one["metric"]): TableCell(_mean_of(one), one["mean"])
        for one in records(shown[["arm", "metric", "n", "mean", "ci_low", "ci_high"]])
    }
    rows = tuple(
        (TableCell(comparison.labels[arm]), *(cells[arm, metric] for metric in metrics))
        for arm in comparison.lines
    )
    heads = ("arm", *(titled(metric) for metric in metrics))
    few = len(metrics) < len(every)
    note = "Metrics of single layers are in this table's data." if few else ""
    title = "All metrics: mean ± over seeds"
    return _upright(Table("metrics", title, heads, rows, comparison.arms, note), "metric")


def _upright(table: Table, corner: str) -> Table:
    """Turn a table of few arms and many columns on its side, so that the page need not scroll."""
    if len(table.rows) > _FEW or len(table.rows) >= len(table.heads):
        return table
    turned = tuple(
        (TableCell(head), *(row[i] for row in table.rows))
        for i, head in enumerate(table.heads[1:], 1)
    )
    heads = (corner, *(row[0].text for row in table.rows))
    return replace(table, heads=heads, rows=turned)


_SIZES = {
    "correlation": "correlation with the baseline",
    "d_z": "d_z",
    "hedges_g": "Hedges' g",
    "improvement": "P(improvement)",
}
_TESTS = {
    "p": "p",
    "p_adjusted": "p adjusted",
    "p_unpaired": "p, unpaired",
    "p_permutation": "p, sign flips",
    "p_permutation_min": "smallest p, sign flips",
    "p_wilcoxon": "p, Wilcoxon",
    "p_wilcoxon_min": "smallest p, Wilcoxon",
}


def _beside(comparison: Comparison) -> Table:
    """Show what pairing gained, how large the effects are, and other tests of them."""
    found, unit = comparison.contrasts, metric_of(comparison.metric).unit
    mine = to_baseline(found[found["metric"] == comparison.metric], comparison.baseline)
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "ci_low": ("uncorrected from", lambda value: written(value, unit, signed=True)),
        "ci_high": ("to", lambda value: written(value, unit, signed=True)),
        "sd": ("sd", lambda value: written(value, unit)),
        "baseline_sd": ("sd of the baseline", lambda value: written(value, unit)),
        **{name: (head, _short) for name, head in _SIZES.items()},
        **{name: (head, p_value) for name, head in _TESTS.items()},
        "bca_low": ("BCa from", lambda value: written(value, unit, signed=True)),
        "bca_high": ("BCa to", lambda value: written(value, unit, signed=True)),
        "seeds_for_power": ("seeds for 80 % power at 2δ", lambda value: f"{value:.0f}"),
    }
    known = {name: column for name, column in columns.items() if mine[name].notna().any()}
    rows = tuple(
        (
            TableCell(comparison.labels[one["arm"]]),
            *(_told(one[name], w) for name, (_, w) in known.items()),
        )
        for one in records(mine)
    )
    heads = ("arm", *(head for head, _ in known.values()))
    note = (
        "Verdicts do not depend on these. p adjusted is p times the number of comparisons in its"
        " family; everything else is for one comparison by itself."
    )
    return _upright(Table("contrasts", "Other statistics", heads, rows, found, note), "statistic")


def _told(value: float, write: Callable[[float], str]) -> TableCell:
    return TableCell(NONE if math.isnan(value) else write(value), value)


def _short(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.2f}".replace("-", MINUS)


_OF_A_RUN = ["arm", "seed", "status", "reason", "path"]


def _failures(lost: pd.DataFrame) -> Table:
    rows = tuple(
        (
            TableCell(one["arm"]),
            TableCell(str(one["seed"]), one["seed"]),
            *map(_word, list(one.values())[2:]),
        )
        for one in records(lost[_OF_A_RUN])
    )
    return Table("failures", "Runs left out of the means", tuple(_OF_A_RUN), rows, lost[_OF_A_RUN])


def _word(value: Any) -> TableCell:
    return TableCell("" if pd.isna(value) else str(value))
