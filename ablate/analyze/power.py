"""What a study can find: how probable each verdict is, and how many seeds it takes.

For normal values, all chances of a claim follow from the truth, the standard deviation over seeds,
and n: the estimate is normal, half the width of its interval is a scaled chi, and the two are
independent. So nothing is simulated: given a width, each verdict is an interval of the normal, and
Gauss-Legendre quadrature integrates over widths, to 0.001 or better.

A claim of a difference is supported if its interval lies above δ. At a true difference of 2δ that
is as probable as an interval above 0 at a difference of δ. So the difference that a study can
*detect* is also the δ at which it can support a claim whose truth is 2δ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.analyze import verdicts
from ablate.analyze.intervals import Component, Estimate
from ablate.analyze.spread import Array
from ablate.analyze.verdicts import ALPHA
from ablate.study.claim import EQUIVALENT

POWER: Final = 0.8
LIMIT: Final = 0.8  # of limits of a standard deviation
_MOST_SEEDS = 2**20
_NODES = (96, 48, 24)  # of each component, where there are one, two, three
_TAIL = 1e-12  # of the chi's distribution, on either side, that is left out
_HALVINGS = 40  # of a bracket: to 12 digits


def of_seeds(spread: Array | float, n: Array | int, m: Array | int | None = None) -> Estimate:
    """Describe the error that a difference of arms will have if the true difference is 0.

    Args:
        spread: Standard deviation of the paired differences, or of the values of an arm, [...].
        n: Shared seeds; or the seeds of one arm, [...].
        m: The seeds of the other arm where they share none.
    """
    variance = np.square(np.asarray(spread, dtype=float))
    counts = [np.asarray(count, dtype=float) for count in (n, m) if count is not None]
    parts = tuple(Component(variance / count, count - 1) for count in counts)
    return Estimate(np.zeros(np.broadcast_shapes(*(part.variance.shape for part in parts))), parts)


def chances(
    truth: Estimate, alpha: Array | float, direction: str, margin: Array | float | None
) -> dict[str, Array]:
    """Compute how probable each verdict on a claim is.

    Args:
        truth: The true difference [...], with the true variances of its estimate.
        alpha: What the interval may miss: 0.05/m for one of m claims.
        direction: As claimed.
        margin: δ, or None.

    Returns:
        Its probability, [...], for each of `verdicts.VERDICTS`.
    """
    smallest = np.asarray(0.0 if margin is None else margin)[..., None]
    half, weight = _halves(truth, alpha)
    side = -1 if direction == "lower" else 1
    centre, error = side * truth.centre[..., None], truth.error[..., None]

    def below(end: Array) -> Array:
        return np.asarray(special.ndtr((end - centre) / error))

    def between(low: Array, high: Array) -> Array:
        return np.maximum(below(high) - below(low), 0)

    within = between(half - smallest, smallest - half)
    up, down = 1 - below(smallest + half), below(-smallest - half)
    # The interval excludes 0, but lies neither beyond δ nor within ±δ:
    up_open = between(half, smallest + half) - between(half, smallest - half)
    down_open = between(-smallest - half, -half) - between(half - smallest, -half)
    none = np.zeros_like(within)
    if direction == EQUIVALENT:
        parts = (within, none, none, up + down, none)
    elif direction == "differs":
        parts = (up + down, up_open + down_open, within, none, none)
    else:
        parts = (up, up_open, within, down, down_open)
    told = [np.asarray((part * weight).sum(-1)) for part in parts]
    rest = np.maximum(1 - sum(told), 0)
    return dict(zip(verdicts.VERDICTS, (*told, rest), strict=True))


def detectable(error: Estimate, alpha: Array | float, *, equivalent: bool = False) -> Array:
    """Find the difference that a study detects: in four of five, its interval excludes 0.

    It is also the smallest δ with which a claim is supported in four of five studies if the truth
    is 2δ.

    Args:
        error: As `of_seeds` gives it.
        alpha: As in `chances`.
        equivalent: Whether to find instead the smallest δ with which equivalence is supported in
            four of five studies if the truth is 0.

    Returns:
        [...], in the unit of the error; NaN if the error is unknown or 0.
    """

    def enough(size: Array) -> NDArray[np.bool_]:
        if equivalent:
            found = chances(error, alpha, EQUIVALENT, size)
        else:
            found = chances(replace(error, centre=size), alpha, "higher", None)
        return found[verdicts.SUPPORTED] >= POWER

    known = error.error > 0
    unit = np.where(known, error.error, 1.0)
    low, high = np.zeros_like(unit), unit.copy()
    while (short := ~enough(high) & known).any():
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        there = enough(middle)
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return np.where(known, high, np.nan)


def seeds_for_power(
    spread: Array,
    margin: Array | float,
    *,
    paired: bool = True,
    alpha: Array | float = ALPHA,
    equivalent: bool | NDArray[np.bool_] = False,
) -> Array:
    """Compute how many seeds support a claim in four of five studies.

    The truth is taken to be 2δ, or 0 for equivalence. It follows from the observed spread and the δ
    that matters, never from the observed effect: that would only restate p.

    Args:
        spread: Standard deviation of the paired differences, or of the values within an arm [...].
        margin: δ, in the same unit.
        paired: Whether arms share seeds; else it is the seeds of each of two arms.
        alpha: How often the interval may miss; in a family, its share of 0.05.
        equivalent: Whether equivalence is claimed; [...] or one for all.

    Returns:
        The smallest whole number ≥ 2, [...]; NaN without spread, and beyond 2^20.
    """
    known = spread > 0
    # If δ is over a hundred standard deviations, two seeds are always enough.
    size = np.minimum(margin / np.where(known, spread, 1.0), 100.0)
    same = np.broadcast_to(np.asarray(equivalent), size.shape)

    def enough(seeds: Array) -> NDArray[np.bool_]:
        error = of_seeds(np.ones_like(size), seeds, None if paired else seeds)
        far = chances(replace(error, centre=size), alpha, "higher", None)[verdicts.SUPPORTED]
        if not same.any():
            return far >= POWER
        near = chances(error, alpha, EQUIVALENT, size)[verdicts.SUPPORTED]
        return np.where(same, near, far) >= POWER

    found = _fewest(enough, size.shape)
    return np.where(known, found, np.nan)


def limits_of_spread(spread: float, k: int) -> tuple[float, float]:
    """Return the lower and upper 80 % limits of a standard deviation estimated from k values.

    Each limit holds by itself: four of five lower limits lie below the truth, and four of five
    upper limits above it.

    Source: the chi-square distribution of (k - 1) s² / σ², of normal values.
    """
    freedom = k - 1
    quantiles = [2 * special.gammaincinv(freedom / 2, p) for p in (LIMIT, 1 - LIMIT)]
    low, high = (spread * np.sqrt(freedom / quantile) for quantile in quantiles)
    return float(low), float(high)


def _fewest(enough: Callable[[Array], NDArray[np.bool_]], shape: tuple[int, ...]) -> Array:
    """Find the smallest whole numbers ≥ 2 that are enough, [...]; NaN where none is."""
    low, high = np.ones(shape), np.full(shape, 2.0)
    while (short := ~enough(high) & (high < _MOST_SEEDS)).any():
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    reached = enough(high)
    while (apart := high - low > 1).any():
        middle = np.where(apart, (low + high) // 2, high)
        there = enough(middle)
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return np.where(reached, high, np.nan)


def _halves(truth: Estimate, alpha: Array | float) -> tuple[Array, Array]:
    """Return possible half widths of the interval and their probabilities, both [..., k]."""
    at = np.asarray(alpha) / 2
    parts, alike = truth.components, _are_alike(truth.components)
    count = 1 if alike else len(parts)
    squares, weights = np.zeros((*truth.centre.shape, 1)), np.ones((*truth.centre.shape, 1))
    for part in parts[:count]:
        freedom, variance = np.asarray(part.freedom, dtype=float), part.variance
        width = special.stdtrit(freedom, at) ** 2 * variance
        # The sum of k such variances is one, with k times the degrees of freedom.
        times = len(parts) if alike else 1
        ratio, weight = _ratios(times * freedom, _NODES[count - 1])
        more = np.asarray(times * width)[..., None] * ratio
        squares = (squares[..., :, None] + more[..., None, :]).reshape(*squares.shape[:-1], -1)
        weights = (weights[..., :, None] * weight[..., None, :]).reshape(squares.shape)
    return np.sqrt(squares), weights


def _are_alike(parts: tuple[Component, ...]) -> bool:
    first = parts[0]
    return all(
        np.array_equal(part.variance, first.variance)
        and np.array_equal(part.freedom, first.freedom)
        for part in parts
    )


@cache
def _rule(count: int) -> tuple[Array, Array]:
    """Return the nodes in [-1, 1] and the weights of Gauss and Legendre's rule, both [count]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights


def _ratios(freedom: Array, count: int) -> tuple[Array, Array]:
    """Return values of s²/σ² to integrate over, and their weights, both [..., count]."""
    nodes, weights = _rule(count)
    half = np.asarray(freedom)[..., None] / 2
    low = np.sqrt(special.gammaincinv(half, _TAIL) / half)
    high = np.sqrt(special.gammainccinv(half, _TAIL) / half)
    root = low + (high - low) * (nodes + 1) / 2
    density = (2 * half - 1) * np.log(root) - half * (root**2 - 1)
    weight = weights * np.exp(density - density.max(-1, keepdims=True))
    return root**2, weight / weight.sum(-1, keepdims=True)
