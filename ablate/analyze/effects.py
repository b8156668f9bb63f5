"""Effects of factors, estimated seed by seed.

An effect has one value per seed, and so the interval of any paired difference: whatever seeds add
to runs, or to the effect itself, is part of its spread. An analysis of variance with seeds as
blocks takes the effect to be the same in every seed, and tests each term at 0.05: where it is not
the same, that calls a null factor significant in 14 to 31 % of sweeps
(`scripts/simulations/factors.py`).

A seed for which some cell is missing or did not train is left out of the effect, and counted. Cells
with seeds of their own have a mean and a variance each instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Final

import numpy as np
import pandas as pd

from ablate.analyze import intervals, outcomes, verdicts
from ablate.analyze.factors import Cell, Effect, Factorial, told, value_of
from ablate.analyze.intervals import Estimate
from ablate.analyze.spread import Array
from ablate.metrics import PRIMARY

COLUMNS: Final = (
    *("effect", "factor", "level", "first", "other", "other_level", "other_first"),
    *("combinations", "n", "left_out", "paired", "delta", "low", "high", "alpha", "p"),
    *("p_adjusted", "description", "margin", "family_size", "ci_low", "ci_high"),
)

Runs = Mapping[Cell, list[tuple[str, float]]]  # replicate and value, ±inf or NaN without one


def estimated(
    runs: pd.DataFrame,
    asked: Factorial,
    family_size: int,
    *,
    metric: str = PRIMARY,
    margin: float | None = None,
) -> pd.DataFrame:
    """Estimate effects, and describe them.

    Args:
        runs: The runs frame.
        asked: The effects.
        family_size: How many differences are described together, counting these.
        metric: What they are effects on.
        margin: The smallest difference that matters, δ.

    Returns:
        One row per effect: its name; ``factor``, ``level``, ``first`` and for an interaction
        ``other``, ``other_level``, ``other_first``; the number of ``combinations`` of the other
        factors over which it is averaged; ``n`` seeds used (if not ``paired``, the fewest runs of a
        cell) and how many were ``left_out``, since a run of theirs is missing or did not train;
        then as in `ablate.analyze.contrasts`.
    """
    members = _members(runs, asked.factors, metric) if asked.effects else {}
    alpha = verdicts.ALPHA / max(family_size, 1)
    about = {"family_size": family_size, "alpha": alpha, "margin": margin or nan}
    rows = [
        _named(effect) | about | _row(effect, members, alpha, margin) for effect in asked.effects
    ]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    words = ("effect", "factor", "level", "first", "other", "other_level", "other_first")
    return found.astype(dict.fromkeys((*words, "description"), "str"))


def by_seed(values: Array, combinations: int) -> Estimate:
    """Estimate an effect from its cells.

    Args:
        values: Of the effect's cells, added ones before subtracted ones; [cells, ..., n].
        combinations: As of the effect.
    """
    plus, minus = (part.sum(0) / combinations for part in np.split(values, 2))
    return intervals.paired(plus, minus)


# -- of each ---------------------------------------------------------------------------------------


def _named(effect: Effect) -> dict[str, Any]:
    columns = {"effect": effect.name, "combinations": effect.combinations}
    for start, i in zip(("", "other_")[: len(effect.factors)], range(2), strict=False):
        columns |= {
            start.rstrip("_") or "factor": effect.factors[i],
            f"{start}level": told(effect.levels[i]),
            f"{start}first": told(effect.firsts[i]),
        }
    return columns


def _members(runs: pd.DataFrame, factors: Sequence[str], metric: str) -> Runs:
    values = outcomes.values_of(runs, metric)
    found: dict[Cell, list[tuple[str, float]]] = {}
    columns = (*(runs[name] for name in factors), runs["replicate"], values)
    for *cell, replicate, value in zip(*columns, strict=True):
        found.setdefault(tuple(map(value_of, cell)), []).append((str(replicate), float(value)))
    return found


def _row(effect: Effect, members: Runs, alpha: float, margin: float | None) -> dict[str, Any]:
    cells = [members[cell] for cell in (*effect.plus, *effect.minus)]
    paired = _share_seeds(cells)
    estimate, n, left_out = (_of_seeds if paired else _of_cells)(cells, effect.combinations)
    low, high = (float(end) for end in estimate.interval(alpha))
    ci_low, ci_high = (float(end) for end in estimate.interval(verdicts.ALPHA))
    p = float(estimate.p())
    return {
        "n": n,
        "left_out": left_out,
        "paired": paired,
        "delta": float(estimate.centre),
        "low": low,
        "high": high,
        "p": p,
        "p_adjusted": min(p * verdicts.ALPHA / alpha, 1.0) if p == p else nan,
        "description": verdicts.description(low, high, margin),
        "ci_low": ci_low,
        "ci_high": ci_high,
    }


def _share_seeds(cells: Sequence[Sequence[tuple[str, float]]]) -> bool:
    """Tell whether cells share at least half of the smallest cell's seeds, each once."""
    seeds = [{replicate for replicate, _ in cell} for cell in cells]
    unique = all(len(one) == len(cell) for one, cell in zip(seeds, cells, strict=True))
    return unique and 2 * len(set.intersection(*seeds)) >= min(map(len, seeds))


def _of_seeds(
    cells: Sequence[Sequence[tuple[str, float]]], combinations: int
) -> tuple[Estimate, int, int]:
    """Estimate an effect from its value in each seed; count the seeds used and those left out."""
    values = [dict(cell) for cell in cells]
    every = dict.fromkeys(replicate for cell in values for replicate in cell)
    whole = [r for r in every if all(np.isfinite(cell.get(r, nan)) for cell in values)]
    table = np.array([[cell[r] for r in whole] for cell in values]).reshape(len(cells), -1)
    return by_seed(table, combinations), len(whole), len(every) - len(whole)


def _of_cells(
    cells: Sequence[Sequence[tuple[str, float]]], combinations: int
) -> tuple[Estimate, int, int]:
    """Estimate an effect from the means of its cells; count the fewest runs, and those left out."""
    values = [np.array([value for _, value in cell if np.isfinite(value)]) for cell in cells]
    signs = np.repeat([1.0, -1.0], len(cells) // 2)
    estimate = intervals.weighted(values, signs / combinations)
    fewest = min(len(known) for known in values)
    return estimate, fewest, sum(map(len, cells)) - sum(map(len, values))
