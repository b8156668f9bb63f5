"""Exact tests of order alone, for arms with runs that did not train.

Such a run ranks behind every run that trained, by an unknown distance: its value is ±inf.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from ablate.analyze.spread import Array

_MOST_SUMS = 3e8  # beyond which counting them takes seconds
_ROUNDING = 1e-9  # of a mean of ranks


def sign_test(x: Array, y: Array) -> float:
    """Test whether an arm lies below the other in as many pairs as above it.

    Args:
        x: Values of an arm [n], ±inf for a run that did not train.
        y: Values of the other [n], seed by seed.

    Returns:
        The exact two-sided p. A pair of two runs that did not train says nothing and is left out,
        like a pair of equal values; 1 if no pair is left.

    Source: Arbuthnot 1710; Conover 1999, Practical Nonparametric Statistics, section 3.4.
    """
    below, above = int((x < y).sum()), int((x > y).sum())
    count = below + above
    if count == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(below, above), count, 0.5)))


def rank_sum(x: Array, y: Array) -> float:
    """Test whether runs of two arms that share no seeds come from one distribution, by their ranks.

    Runs of equal value share the mean of their ranks; so do all runs that did not train.

    Args:
        x: Values of an arm [n], ±inf for a run that did not train.
        y: Values of the other [m].

    Returns:
        The exact two-sided p, ties included. Above about 90 runs per arm, that of the normal
        distribution, which then agrees to 0.001. NaN if an arm has no run.

    Source: Wilcoxon 1945, Biometrics Bulletin 1(6); the count of the ways to reach a sum of ranks
    goes run by run (Lehmann 1975, Nonparametrics, appendix on ties).
    """
    few, many = sorted((x, y), key=len)
    if len(few) == 0:
        return math.nan
    doubled = _doubled_ranks(np.concatenate([few, many]))  # whole numbers, ties too
    doubled -= doubled.min()  # all choices hold equally many runs, so zero may lie anywhere
    unit = max(1, int(np.gcd.reduce(doubled)))
    ranks = doubled // unit
    expected = len(few) * ranks.mean()
    observed = abs(ranks[: len(few)].sum() - expected)
    most = int(np.sort(ranks)[-len(few) :].sum())
    if len(few) * len(ranks) * most > _MOST_SUMS:
        variance = len(few) * len(many) * ranks.var(ddof=1) / len(ranks)  # of the sum, over choices
        return float(special.erfc(observed / math.sqrt(2 * variance))) if variance > 0 else 1.0
    ways = np.zeros((len(few) + 1, most + 1))  # [runs chosen, their sum]
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : most + 1 - rank].copy()
    away = np.abs(np.arange(most + 1) - expected)
    reached = ways[-1][away >= observed - _ROUNDING * expected].sum()
    return float(reached / ways[-1].sum())


def side(x: Array, y: Array, *, paired: bool) -> int:
    """Tell by order alone on which side of another arm an arm lies.

    Args:
        x: Values of an arm [n].
        y: Of the other [m].
        paired: Whether to compare seed by seed, or each run with each.

    Returns:
        -1 if it lies lower, 1 if higher, 0 for neither.
    """
    beside = (x, y) if paired else (x[:, None], y[None])
    balance = np.greater(*beside).sum() - np.less(*beside).sum()
    return int(np.sign(balance))


def _doubled_ranks(values: Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return twice the ranks of values, from 1; ties share their mean rank."""
    below = (values[:, None] > values[None]).sum(1)
    alike = (values[:, None] == values[None]).sum(1)
    return np.asarray(2 * below + alike + 1, dtype=np.int64)
