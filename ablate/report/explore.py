"""What else a report shows: learning curves, dose responses and the cells of a factorial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablate.analyze.factors import crossed, factors_of
from ablate.analyze.summaries import cells, curves, dose_response
from ablate.report.compare import Comparison

_COURSES = ("val/error", "train/loss")
_FEWEST_DOSES = 3


@dataclass(frozen=True)
class Exploration:
    """What was found apart from the comparison.

    Attributes:
        curves: Metric -> one row per arm and epoch.
        doses: Knob -> one row per series and dose.
        cells: Pair of factors -> one row per cell.
    """

    curves: dict[str, pd.DataFrame]
    doses: dict[str, pd.DataFrame]
    cells: dict[tuple[str, str], pd.DataFrame]


def explore(comparison: Comparison) -> Exploration:
    """Summarize curves, doses and factors."""
    runs, metric = comparison.runs, comparison.metric
    history = comparison.frames.history
    factors = factors_of(runs)
    return Exploration(
        {name: curves(history, name) for name in _COURSES if _is_known(history, name)},
        {knob: dose_response(runs, knob, metric) for knob in _dosed(runs, factors)},
        {pair: cells(runs, pair, metric) for pair in crossed(runs, factors)},
    )


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
