"""Factorial sweeps: what each level of a factor does, and whether that depends on another factor.

An effect is a difference that every seed gives by itself: the level less the factor's first level
(the one at rest), each averaged over the combinations of the other factors that both levels were
run with. An interaction is a difference of two such differences. So an effect has one value a seed,
and the interval of any paired difference: whatever seeds add to runs, or to the effect itself, is
in its spread. A model with seeds as blocks takes the effect to be the same in every seed, and calls
a null factor significant in 11 to 24 % of sweeps where it is not.

A seed in which some cell of an effect is missing or did not train is left out of that effect, and
counted. Where cells have seeds of their own there is a mean and a variance for each cell instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import nan
from typing import Any, Final

import numpy as np
import pandas as pd

from ablate.analyze import intervals, naming, outcomes, verdicts
from ablate.analyze.frames import knobs_of
from ablate.analyze.intervals import Estimate
from ablate.analyze.spread import Array
from ablate.config import schema
from ablate.metrics import PRIMARY

_MOST_PAIRS = 3  # of factors, whose cells are shown
_MOST_LEVELS = 12  # of a factor
_MOST_FACTORS = 4
_MOST_EFFECTS = 48  # of one family: its intervals are a fifth wider than those of ten
COLUMNS: Final = (
    *("effect", "factor", "level", "first", "other", "other_level", "other_first"),
    *("combinations", "n", "left_out", "paired", "delta", "low", "high", "alpha", "p"),
    *("p_adjusted", "description", "margin", "family_size", "ci_low", "ci_high"),
)

Cell = tuple[Any, ...]  # a level of each factor
Runs = Mapping[Cell, list[tuple[str, float]]]  # replicate and value, ±inf or NaN without one


@dataclass(frozen=True)
class Effect:
    """A level of a factor against its first; or how far another factor's level changes that.

    Attributes:
        factors: One factor, or the two of an interaction.
        levels: A level of each.
        firsts: The first level of each.
        plus: Cells that are added; as many, in the same order of the other factors, as are
            subtracted.
        minus: Cells that are subtracted.
    """

    factors: tuple[str, ...]
    levels: Cell
    firsts: Cell
    plus: tuple[Cell, ...]
    minus: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """As on the command line: ``dropout.dense=0.5 × norm=batch``."""
        parts = zip(self.factors, self.levels, strict=True)
        return " × ".join(f"{name.removesuffix('.name')}={_told(value)}" for name, value in parts)

    @property
    def combinations(self) -> int:
        """Over how many combinations of the other factors it is averaged."""
        return len(self.plus) // len(self.factors)


@dataclass(frozen=True)
class Factorial:
    """What a factorial sweep is to be described by.

    Attributes:
        factors: The knobs that vary among the finished runs; a cell has a level of each.
        effects: In the order in which they are shown; none where no factors are crossed.
        lacks: Why there are none, or none of interactions.
    """

    factors: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    lacks: str | None = None


def factors_of(runs: pd.DataFrame) -> list[str]:
    """List the knobs that tell arms apart, less those that follow an option."""
    names = knobs_of(runs)
    if not names:
        return []
    each = runs.drop_duplicates(names)[names].to_dict("records")
    told = naming.told([{str(k): v for k, v in one.items() if not pd.isna(v)} for one in each])
    return [name for name in told if runs[name].nunique() > 1]


def crossed(runs: pd.DataFrame, factors: Sequence[str]) -> list[tuple[str, str]]:
    """List the first pairs of factors that are crossed: two values of each meet in all four ways.

    Neither what varies together is, nor what varies one at a time, nor an option that lacks the
    other knob (`init=xavier_normal` has no `init.std`).
    """
    done = runs[runs["status"] == "finished"]
    few = [name for name in factors if 2 <= done[name].nunique() <= _MOST_LEVELS]
    pairs = [pair for pair in combinations(few, 2) if _are_crossed(done, *pair)]
    return pairs[:_MOST_PAIRS]


def factorial(runs: pd.DataFrame, metric: str = PRIMARY) -> Factorial:
    """List the effects that runs are to be described by.

    Args:
        runs: The runs frame.
        metric: The primary metric; a combination counts as run where some run of it trained.
    """
    names = factors_of(runs)
    if not crossed(runs, names):
        return Factorial()
    done = runs[runs["status"] == "finished"]
    factors = tuple(name for name in names if done[name].nunique() > 1)
    fine = [name for name in factors if done[name].nunique() > _MOST_LEVELS]
    if fine:
        return Factorial(lacks=f"no effects of factors: {', '.join(fine)} varies too finely")
    if len(factors) > _MOST_FACTORS:
        return Factorial(lacks=f"no effects of factors: {len(factors)} knobs vary")
    cells = _cells(done[outcomes.trained(done, metric)], factors)
    levels = [_levels(runs, name) for name in factors]
    places = range(len(factors))
    main = [effect for i in places for effect in _effects((i,), factors, levels, cells)]
    both = combinations(places, 2)
    mixed = [effect for pair in both for effect in _effects(pair, factors, levels, cells)]
    if len(main) + len(mixed) > _MOST_EFFECTS:
        why = f"no interactions are shown: there are {len(mixed)}"
        return Factorial(factors, tuple(main), why)
    return Factorial(factors, (*main, *mixed))


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
        family_size: How many differences are described together, these and others.
        metric: What they are effects on.
        margin: The smallest difference that matters, δ.

    Returns:
        One row an effect: its name; ``factor``, ``level``, ``first`` and of an interaction
        ``other``, ``other_level``, ``other_first``; over how many ``combinations`` of the other
        factors it is averaged; ``n`` seeds that it was worked out from (the fewest runs of a cell
        where it is not ``paired``) and how many were ``left_out``, since a run of theirs is missing
        or did not train; then as in `ablate.analyze.contrasts`.
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
    """Estimate an effect of its cells, where they share seeds.

    Args:
        values: Of an effect's cells, those that are added before those that are subtracted;
            [cells, ..., n].
        combinations: As of the effect.
    """
    plus, minus = (part.sum(0) / combinations for part in np.split(values, 2))
    return intervals.paired(plus, minus)


# -- which effects there are -----------------------------------------------------------------------


def _are_crossed(done: pd.DataFrame, a: str, b: str) -> bool:
    met = [set(part[b].dropna()) for _, part in done.groupby(a)]
    return any(len(one & other) > 1 for one, other in combinations(met, 2))


def _levels(runs: pd.DataFrame, name: str) -> list[Any]:
    """List the values of a factor in the frame's order, in which the arm at rest is first."""
    return [_value(value) for value in runs[name].dropna().unique()]


def _value(value: Any) -> Any:
    """Give a level as a plain value; None where an option lacks the knob."""
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()


def _told(value: Any) -> str:
    return value if isinstance(value, str) else schema.shown(value)


def _cells(runs: pd.DataFrame, factors: Sequence[str]) -> list[Cell]:
    """List the cells of some runs, each once, in their order."""
    rows = zip(*(runs[name] for name in factors), strict=True)
    return list(dict.fromkeys(tuple(map(_value, row)) for row in rows))


def _effects(
    places: tuple[int, ...],
    factors: Sequence[str],
    levels: Sequence[Sequence[Any]],
    cells: Sequence[Cell],
) -> list[Effect]:
    """List the effects of a factor, or of two together, that some combination allows."""
    there = set(cells)
    firsts = tuple(levels[place][0] for place in places)
    found = []
    for chosen in product(*(levels[place][1:] for place in places)):
        plus: list[Cell] = []
        minus: list[Cell] = []
        for corner in (cell for cell in cells if _at(cell, places) == chosen):
            added, taken = _corners(corner, places, firsts)
            if there.issuperset((*added, *taken)):
                plus, minus = [*plus, *added], [*minus, *taken]
        if plus:
            names = tuple(factors[place] for place in places)
            found.append(Effect(names, chosen, firsts, tuple(plus), tuple(minus)))
    return found


def _at(cell: Cell, places: tuple[int, ...]) -> Cell:
    return tuple(cell[place] for place in places)


def _corners(
    corner: Cell, places: tuple[int, ...], firsts: Cell
) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """Give the cells that are added and subtracted where the other factors stand as in a cell."""

    def moved(*which: int) -> Cell:
        back = {places[i]: firsts[i] for i in which}
        return tuple(back.get(place, value) for place, value in enumerate(corner))

    if len(places) == 1:
        return (corner,), (moved(0),)
    return (corner, moved(0, 1)), (moved(0), moved(1))


# -- what they are ---------------------------------------------------------------------------------


def _named(effect: Effect) -> dict[str, Any]:
    columns = {"effect": effect.name, "combinations": effect.combinations}
    for start, i in zip(("", "other_")[: len(effect.factors)], range(2), strict=False):
        columns |= {
            start.rstrip("_") or "factor": effect.factors[i],
            f"{start}level": _told(effect.levels[i]),
            f"{start}first": _told(effect.firsts[i]),
        }
    return columns


def _members(runs: pd.DataFrame, factors: Sequence[str], metric: str) -> Runs:
    values = outcomes.values_of(runs, metric)
    found: dict[Cell, list[tuple[str, float]]] = {}
    columns = (*(runs[name] for name in factors), runs["replicate"], values)
    for *cell, replicate, value in zip(*columns, strict=True):
        found.setdefault(tuple(map(_value, cell)), []).append((str(replicate), float(value)))
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
    """Tell whether cells share half of the seeds that the smallest has, and none stands twice."""
    seeds = [{replicate for replicate, _ in cell} for cell in cells]
    unique = all(len(one) == len(cell) for one, cell in zip(seeds, cells, strict=True))
    return unique and 2 * len(set.intersection(*seeds)) >= min(map(len, seeds))


def _of_seeds(
    cells: Sequence[Sequence[tuple[str, float]]], combinations: int
) -> tuple[Estimate, int, int]:
    """Estimate an effect of its value in each seed; with how many seeds, and how many others."""
    values = [dict(cell) for cell in cells]
    every = dict.fromkeys(replicate for cell in values for replicate in cell)
    whole = [r for r in every if all(np.isfinite(cell.get(r, nan)) for cell in values)]
    table = np.array([[cell[r] for r in whole] for cell in values]).reshape(len(cells), -1)
    return by_seed(table, combinations), len(whole), len(every) - len(whole)


def _of_cells(
    cells: Sequence[Sequence[tuple[str, float]]], combinations: int
) -> tuple[Estimate, int, int]:
    """Estimate an effect of the means of its cells; with their fewest runs, and all left out."""
    values = [np.array([value for _, value in cell if np.isfinite(value)]) for cell in cells]
    signs = np.repeat([1.0, -1.0], len(cells) // 2)
    estimate = intervals.weighted(values, signs / combinations)
    fewest = min(len(known) for known in values)
    return estimate, fewest, sum(map(len, cells)) - sum(map(len, values))
