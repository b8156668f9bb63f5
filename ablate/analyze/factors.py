"""Factorial sweeps: which effects of factors can be described.

An effect is a difference that each seed gives on its own: a level minus the factor's first level
(the one at rest), both averaged over the combinations of the other factors that both were run with.
An interaction is the difference of two such differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import pandas as pd

from ablate.analyze import naming, outcomes
from ablate.analyze.frames import knobs_of
from ablate.config import schema
from ablate.metrics import PRIMARY

_MOST_PAIRS = 3  # of factors whose cells are shown
_MOST_LEVELS = 12  # of a factor
_MOST_FACTORS = 4
_MOST_EFFECTS = 48  # of one family: its intervals are a fifth wider than those of ten

Cell = tuple[Any, ...]  # a level of each factor


@dataclass(frozen=True)
class Effect:
    """A factor's level compared with its first, or how another factor's level changes that.

    Attributes:
        factors: One factor, or two for an interaction.
        levels: A level of each.
        firsts: The first level of each.
        plus: Cells that are added.
        minus: Cells that are subtracted: as many, with the other factors in the same order.
    """

    factors: tuple[str, ...]
    levels: Cell
    firsts: Cell
    plus: tuple[Cell, ...]
    minus: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Its name, in the words of the command line: ``dropout.dense=0.5 × norm=batch``."""
        parts = zip(self.factors, self.levels, strict=True)
        return " × ".join(f"{name.removesuffix('.name')}={told(value)}" for name, value in parts)

    @property
    def combinations(self) -> int:
        """Over how many combinations of the other factors it is averaged."""
        return len(self.plus) // len(self.factors)


@dataclass(frozen=True)
class Factorial:
    """The effects with which a report describes a factorial sweep.

    Attributes:
        factors: The knobs that vary among finished runs; a cell has one level of each.
        effects: In the order shown; none if no factors are crossed.
        lacks: Why there are no effects, or no interactions; None if there are.
    """

    factors: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    lacks: str | None = None


def factors_of(runs: pd.DataFrame) -> list[str]:
    """List the knobs that distinguish arms, except those that an option brings along."""
    names = knobs_of(runs)
    if not names:
        return []
    each = runs.drop_duplicates(names)[names].to_dict("records")
    names = naming.told([{str(k): v for k, v in one.items() if not pd.isna(v)} for one in each])
    return [name for name in names if runs[name].nunique() > 1]


def crossed(runs: pd.DataFrame, factors: Sequence[str]) -> list[tuple[str, str]]:
    """List the first pairs of crossed factors: for two values of each, all four combinations ran.

    Factors that vary together or one at a time are not crossed. Neither is an option with a knob
    that it lacks (`init=xavier_normal` has no `init.std`).
    """
    done = runs[runs["status"] == "finished"]
    few = [name for name in factors if 2 <= done[name].nunique() <= _MOST_LEVELS]
    pairs = [pair for pair in combinations(few, 2) if _are_crossed(done, *pair)]
    return pairs[:_MOST_PAIRS]


def factorial(runs: pd.DataFrame, metric: str = PRIMARY) -> Factorial:
    """List the effects with which a report describes runs.

    Args:
        runs: The runs frame.
        metric: The primary metric; a combination counts if at least one of its runs trained.
    """
    names = factors_of(runs)
    if not crossed(runs, names):
        return Factorial()
    done = runs[runs["status"] == "finished"]
    factors = tuple(name for name in names if done[name].nunique() > 1)
    fine = [name for name in factors if done[name].nunique() > _MOST_LEVELS]
    if fine:
        return Factorial(lacks=f"no effects of factors: too many values of {', '.join(fine)}")
    if len(factors) > _MOST_FACTORS:
        return Factorial(lacks=f"no effects of factors: too many knobs vary ({len(factors)})")
    cells = _cells(done[outcomes.trained(done, metric)], factors)
    levels = [_levels(runs, name) for name in factors]
    places = range(len(factors))
    main = [effect for i in places for effect in _effects((i,), factors, levels, cells)]
    both = combinations(places, 2)
    mixed = [effect for pair in both for effect in _effects(pair, factors, levels, cells)]
    if len(main) + len(mixed) > _MOST_EFFECTS:
        why = f"no interactions are shown: there are too many ({len(mixed)})"
        return Factorial(factors, tuple(main), why)
    return Factorial(factors, (*main, *mixed))


# -- which effects there are -----------------------------------------------------------------------


def _are_crossed(done: pd.DataFrame, a: str, b: str) -> bool:
    met = [set(part[b].dropna()) for _, part in done.groupby(a)]
    return any(len(one & other) > 1 for one, other in combinations(met, 2))


def _levels(runs: pd.DataFrame, name: str) -> list[Any]:
    """List the values of a factor in the frame's order, in which the arm at rest is first."""
    return [value_of(value) for value in runs[name].dropna().unique()]


def value_of(value: Any) -> Any:
    """Return a level as a plain value; None where an option lacks the knob."""
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()


def told(value: Any) -> str:
    """Write a level as on the command line."""
    return value if isinstance(value, str) else schema.shown(value)


def _cells(runs: pd.DataFrame, factors: Sequence[str]) -> list[Cell]:
    """List the cells of some runs, each once, in order."""
    rows = zip(*(runs[name] for name in factors), strict=True)
    return list(dict.fromkeys(tuple(map(value_of, row)) for row in rows))


def _effects(
    places: tuple[int, ...],
    factors: Sequence[str],
    levels: Sequence[Sequence[Any]],
    cells: Sequence[Cell],
) -> list[Effect]:
    """List the effects of a factor, or interactions of two, that the cells allow."""
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
    """Return the cells to add and to subtract, with the other factors as in a given cell."""

    def moved(*which: int) -> Cell:
        back = {places[i]: firsts[i] for i in which}
        return tuple(back.get(place, value) for place, value in enumerate(corner))

    if len(places) == 1:
        return (corner,), (moved(0),)
    return (corner, moved(0, 1)), (moved(0), moved(1))
