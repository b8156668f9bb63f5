"""Designs: the arms of a comparison, given what varies. Pure, so that a plan can print them.

A grid shows how factors act together, at the price of every combination. Most questions need fewer
arms:

    design             arms                                                  for k factors
    factorial          every combination of values                           product of the counts
    one_at_a_time      the first values; each further value of each factor   1 + further values
    leave_one_out      all on; each one off                                  k + 1
    add_one_in         all off; each one on                                  k + 1

Source: Box, Hunter & Hunter 2005, Statistics for Experimenters, chapter 5 (factorials); leave-one-
out and add-one-in are the ablation tables of deep learning papers (Meyes et al. 2019,
arXiv:1901.08644).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from ablate.plan.request import Overrides

Arms = dict[str, Overrides]  # an arm's name -> what it sets

ALL, NONE = "full", "plain"  # names of the baselines


def factorial(factors: Mapping[str, Sequence[str]]) -> Arms:
    """Combine every value of every factor.

    Args:
        factors: Knob or group -> its values, as on the command line.

    Returns:
        Arms named as on the command line; the first has the first value of each.
    """
    cells = product(*([f"{name}={value}" for value in values] for name, values in factors.items()))
    return {" ".join(cell): cell for cell in cells}


def one_at_a_time(factors: Mapping[str, Sequence[str]]) -> Arms:
    """Change one factor at a time from the first values, which are the baseline."""
    first = {name: values[0] for name, values in factors.items()}
    arms: Arms = {" ".join(_set(first)): tuple(_set(first))}
    for name, values in factors.items():
        for value in values[1:]:
            arms[f"{name}={value}"] = tuple(_set(first | {name: value}))
    return arms


def leave_one_out(ingredients: Mapping[str, Sequence[str]]) -> Arms:
    """Take one ingredient at a time out of the full recipe, which is the baseline.

    Args:
        ingredients: Name -> the overrides that put it in.
    """
    arms: Arms = {ALL: _joined(ingredients, list(ingredients))}
    for name in ingredients:
        arms[f"without {name}"] = _joined(ingredients, [n for n in ingredients if n != name])
    return arms


def add_one_in(ingredients: Mapping[str, Sequence[str]]) -> Arms:
    """Put one ingredient at a time into the plain recipe, which is the baseline."""
    return {NONE: ()} | {f"with {name}": tuple(ingredients[name]) for name in ingredients}


def of_grid(design: str, factors: Mapping[str, Sequence[str]]) -> Arms:
    """Read a design off a grid of the command line.

    Args:
        design: A value of the knob `design`.
        factors: Knob or group -> its values; in leave_one_out and add_one_in the first value of
            each is off, and the last is on.
    """
    if design == "factorial":
        return factorial(factors)
    if design == "one_at_a_time":
        return one_at_a_time(factors)
    off = {name: values[0] for name, values in factors.items()}
    on = {name: values[-1] for name, values in factors.items()}
    if design == "leave_one_out":
        arms: Arms = {ALL: tuple(_set(on))}
        return arms | {f"without {n}": tuple(_set(on | {n: off[n]})) for n in factors}
    return {NONE: tuple(_set(off))} | {f"with {n}": tuple(_set(off | {n: on[n]})) for n in factors}


def _set(values: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _joined(ingredients: Mapping[str, Sequence[str]], names: Sequence[str]) -> Overrides:
    return tuple(override for name in names for override in ingredients[name])
