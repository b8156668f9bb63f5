"""What else a report shows: courses, responses to a dose, the cells of a factorial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from ablate.analyze import naming
from ablate.analyze.factors import anova
from ablate.analyze.frames import knobs_of
from ablate.analyze.summaries import cells, curves, dose_response
from ablate.errors import AblateError
from ablate.report.compare import Comparison

_COURSES = ("val/error", "train/loss")
_FEWEST_DOSES = 3
_MOST_PAIRS = 3  # heat maps
_MOST_LEVELS = 12  # of a factor, in a heat map and an analysis of variance
_MOST_FACTORS = 4
_MOST_WORK = 2e8  # multiplications of a fit, beyond which it takes seconds


@dataclass(frozen=True)
class Exploration:
    """What was found beside the comparison.

    Attributes:
        curves: By metric, a row an arm and epoch.
        doses: By knob, a row a series and dose.
        cells: By pair of factors, a row a cell.
        anova: A row a term; None where it could not be done, or there is one factor.
        anova_lacks: Why it could not be done.
    """

    curves: dict[str, pd.DataFrame]
    doses: dict[str, pd.DataFrame]
    cells: dict[tuple[str, str], pd.DataFrame]
    anova: pd.DataFrame | None
    anova_lacks: str | None


def explore(comparison: Comparison) -> Exploration:
    """Summarize courses, doses and factors."""
    runs, metric = comparison.runs, comparison.metric
    history = comparison.frames.history
    factors = factors_of(runs)
    found, lacks = _anova(runs, factors, metric)
    return Exploration(
        {name: curves(history, name) for name in _COURSES if _is_known(history, name)},
        {knob: dose_response(runs, knob, metric) for knob in _dosed(runs, factors)},
        {pair: cells(runs, pair, metric) for pair in _pairs(runs, factors)},
        found,
        lacks,
    )


def factors_of(runs: pd.DataFrame) -> list[str]:
    """List the knobs that tell arms apart, less those that follow an option."""
    names = knobs_of(runs)
    if not names:
        return []
    each = runs.drop_duplicates(names)[names].to_dict("records")
    told = naming.told([{str(k): v for k, v in one.items() if not pd.isna(v)} for one in each])
    return [name for name in told if runs[name].nunique() > 1]


def _is_known(history: pd.DataFrame, name: str) -> bool:
    return name in history and bool(history[name].notna().any())


def _dosed(runs: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    done = runs[runs["status"] == "finished"]
    return [
        name for name in factors if _is_numeric(done[name]) and _levels(done, name) >= _FEWEST_DOSES
    ]


def _is_numeric(values: pd.Series[Any]) -> bool:
    kinds = pd.api.types
    return kinds.is_numeric_dtype(values) and not kinds.is_bool_dtype(values)


def _levels(runs: pd.DataFrame, name: str) -> int:
    return int(runs[name].nunique())


def _pairs(runs: pd.DataFrame, factors: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs of factors that are crossed: two values of each meet in all four ways.

    Neither what varies together is, nor what varies one at a time, nor an option that lacks the
    other knob (`init=xavier_normal` has no `init.std`).
    """
    done = runs[runs["status"] == "finished"]
    few = [name for name in factors if 2 <= _levels(done, name) <= _MOST_LEVELS]
    pairs = [pair for pair in combinations(few, 2) if _are_crossed(done, *pair)]
    return pairs[:_MOST_PAIRS]


def _are_crossed(done: pd.DataFrame, a: str, b: str) -> bool:
    met = [set(part[b].dropna()) for _, part in done.groupby(a)]
    return any(len(one & other) > 1 for one, other in combinations(met, 2))


def _anova(
    runs: pd.DataFrame, factors: Sequence[str], metric: str
) -> tuple[pd.DataFrame | None, str | None]:
    if not _pairs(runs, factors):
        return None, None
    done = runs[runs["status"] == "finished"]
    usable = [name for name in factors if _levels(done, name) > 1]
    if (why := _too_large(done, usable)) is not None:
        return None, f"no analysis of variance: {why}"
    try:
        return anova(runs, usable, metric), None
    except AblateError as error:
        return None, f"no analysis of variance: {error.faults[0]}"


def _too_large(done: pd.DataFrame, factors: Sequence[str]) -> str | None:
    """Say why a model of these factors would be too fine, or too slow to fit."""
    fine = [name for name in factors if _levels(done, name) > _MOST_LEVELS]
    if fine:
        return f"{', '.join(fine)} varies too finely"
    if len(factors) > _MOST_FACTORS:
        return f"{len(factors)} knobs vary"
    columns = sum(_levels(done, a) * _levels(done, b) for a, b in combinations(factors, 2))
    columns += _levels(done, "replicate")
    if len(done) * columns**2 > _MOST_WORK:
        return f"{len(done):,} runs with {columns} cells and seeds are too many to fit"
    return None
