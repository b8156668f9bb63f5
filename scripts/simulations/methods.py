"""The intervals of a difference of means that were tried: Student's, skew-corrected, resampled.

Each is a function of an arm x [..., n], its baseline y [..., m], whether they share their seeds,
levels alpha [A], and a generator; it returns both ends [A, ...] of the intervals at 1 - alpha. An
end that the values do not bound is infinite; without spread, both are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product
from math import comb

import numpy as np

from ablate.analyze import intervals
from ablate.analyze.intervals import Component, Estimate
from ablate.analyze.spread import Array

Ends = tuple[Array, Array]
Method = Callable[[Array, Array, bool, Sequence[float], np.random.Generator], Ends]

RESAMPLES = 999
_ROWS = 100  # resampled at once: what the cache holds


# -- Student's kind --------------------------------------------------------------------------------


def _estimate(x: Array, y: Array, paired: bool) -> Estimate:
    return (intervals.paired if paired else intervals.unpaired)(x, y)


def _welch(x: Array, y: Array, paired: bool) -> Estimate:
    """Replace two components by one, with Welch's degrees of freedom."""
    found = _estimate(x, y, paired)
    if paired:
        return found
    total = found.error**2
    freedom = total**2 / sum(c.variance**2 / c.freedom for c in found.components)
    return Estimate(found.centre, (Component(total, freedom),))


def _ends(found: Estimate, alphas: Sequence[float]) -> Ends:
    both = [found.interval(alpha) for alpha in alphas]
    return np.array([low for low, _ in both]), np.array([high for _, high in both])


def welch(x: Array, y: Array, paired: bool, alphas: Sequence[float], _: object) -> Ends:
    """Use Student's t for pairs, and Welch's for arms (Welch 1947)."""
    return _ends(_welch(x, y, paired), alphas)


def banerjee(x: Array, y: Array, paired: bool, alphas: Sequence[float], _: object) -> Ends:
    """Use Student's t for pairs, and Banerjee's for arms (1960)."""
    return _ends(_estimate(x, y, paired), alphas)


# -- corrected for skewness ------------------------------------------------------------------------


def _skewness(x: Array, y: Array, paired: bool, error: Array) -> Array:
    """Estimate the skewness of the difference of means, [...]."""
    third = _third(x - y) if paired else _third(x) - _third(y)
    return np.asarray(third / error**3)


def _third(x: Array) -> Array:
    """Estimate the third cumulant of a mean, without bias."""
    n = x.shape[-1]
    cubes = (x - x.mean(-1, keepdims=True)) ** 3
    return np.asarray(cubes.sum(-1) / (n * (n - 1) * (n - 2)))


def johnson(x: Array, y: Array, paired: bool, alphas: Sequence[float], _: object) -> Ends:
    """Shift the interval by the effect of skewness on the mean of t (Johnson 1978)."""
    found = _welch(x, y, paired)
    shift = _skewness(x, y, paired, found.error) * found.error / 6
    return _ends(Estimate(found.centre + shift, found.components), alphas)


def hall(x: Array, y: Array, paired: bool, alphas: Sequence[float], _: object) -> Ends:
    """Transform t by a cubic that removes its skewness (Hall 1992), and back."""
    return _hall(_welch(x, y, paired), x, y, paired, alphas)


def hall_outside(x: Array, y: Array, paired: bool, alphas: Sequence[float], _: object) -> Ends:
    """Use Hall's interval on Banerjee's t, but never less than Banerjee's: the union of both."""
    found = _estimate(x, y, paired)
    low, high = _ends(found, alphas)
    low_hall, high_hall = _hall(found, x, y, paired, alphas)
    return np.minimum(low, low_hall), np.maximum(high, high_hall)


def _hall(found: Estimate, x: Array, y: Array, paired: bool, alphas: Sequence[float]) -> Ends:
    skewness = _skewness(x, y, paired, found.error)
    t = np.array([found.half(alpha) for alpha in alphas]) / found.error
    return (
        found.centre - found.error * _unskewed(t, skewness),
        found.centre - found.error * _unskewed(-t, skewness),
    )


def _unskewed(t: Array, skewness: Array) -> Array:
    """Invert t + k t²/3 + k² t³/27 + k/6, with k the skewness; the identity if k is 0."""
    some = np.abs(skewness) > 1e-9
    k = np.where(some, skewness, 1)
    return np.where(some, 3 / k * (np.cbrt(1 + k * (t - k / 6)) - 1), t)


# -- resampled -------------------------------------------------------------------------------------


def flips(
    x: Array, y: Array, paired: bool, alphas: Sequence[float], rng: np.random.Generator
) -> Ends:
    """Invert the sign-flip test of pairs, and the permutation test of arms.

    A flip ties with the observed value if the mean of the flipped differences is the shift. So the
    ends are order statistics of means of subsets (Hartigan 1969) or, for arms, of differences
    between the means of swapped values.
    """
    n, m = x.shape[-1], y.shape[-1]
    if paired:
        of_x = _subsets(n, rng)
        return _in_rows(lambda a, b: _ordered((a - b) @ of_x.T, alphas), x, y, len(alphas))
    of_x, of_y = _swaps(n, m, rng)
    return _in_rows(lambda a, b: _ordered(a @ of_x.T - b @ of_y.T, alphas), x, y, len(alphas))


def _subsets(n: int, rng: np.random.Generator) -> Array:
    """Return weights [subsets, n] for the means of all subsets, or of RESAMPLES of them."""
    if 2**n <= RESAMPLES:
        chosen = np.array(list(product([0.0, 1.0], repeat=n))[1:])
    else:
        chosen = rng.integers(2, size=(RESAMPLES, n)).astype(float)
        chosen[chosen.sum(1) == 0] = 1
    return np.asarray(chosen / chosen.sum(1, keepdims=True))


def _swaps(n: int, m: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return weights for the means of the values swapped out of x and into it from y."""
    if comb(n + m, n) <= RESAMPLES:
        kept = [np.array(c) for c in combinations(range(n + m), n)]
    else:
        kept = [rng.permutation(n + m)[:n] for _ in range(RESAMPLES)]
    stays = np.zeros((len(kept), n + m))
    for row, order in zip(stays, kept, strict=True):
        row[order] = 1
    leaves, comes = 1 - stays[:, :n], stays[:, n:]
    moved = leaves.sum(1) > 0
    leaves, comes = leaves[moved], comes[moved]
    return leaves / leaves.sum(1, keepdims=True), comes / comes.sum(1, keepdims=True)


def bootstrap_t(
    x: Array, y: Array, paired: bool, alphas: Sequence[float], rng: np.random.Generator
) -> Ends:
    """Use quantiles of t from resamples (Efron 1979), with the same indices for all rows."""
    if paired:
        of_d = _weights(x.shape[-1], rng)
        ends = _in_rows(lambda a, b: _ordered(_t(((a - b), of_d)), alphas), x, y, len(alphas))
    else:
        of_x, of_y = _weights(x.shape[-1], rng), _weights(y.shape[-1], rng)
        ends = _in_rows(lambda a, b: _ordered(_t((a, of_x), (-b, of_y)), alphas), x, y, len(alphas))
    found = _estimate(x, y, paired)
    return found.centre - ends[1] * found.error, found.centre - ends[0] * found.error


def _weights(n: int, rng: np.random.Generator) -> Array:
    """Return weights [resamples, n] for the means of resamples."""
    return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n


def _t(*arms: tuple[Array, Array]) -> Array:
    """Compute t of all resamples, [..., resamples], infinite if a resample does not vary."""
    zero = np.zeros((*arms[0][0].shape[:-1], 1))
    away, square, whole = zero, zero, zero
    for values, weights in arms:
        n = values.shape[-1]
        centred = values - values.mean(-1, keepdims=True)
        means = centred @ weights.T
        away = away + means
        square = square + ((centred**2) @ weights.T - means**2) / (n - 1)
        whole = whole + centred.var(-1, keepdims=True) / (n - 1)
    square[square < 1e-9 * whole] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        t = away / np.sqrt(square)
    return np.asarray(np.nan_to_num(t, nan=0.0, posinf=np.inf, neginf=-np.inf))


def _ordered(values: Array, alphas: Sequence[float]) -> Ends:
    """Pick the order statistics that cut off alpha/2 on each side, counting the observed value."""
    count = values.shape[-1]
    ranks = [int(alpha / 2 * (count + 1) + 1e-9) for alpha in alphas]
    shape = values.shape[:-1]
    values = np.sort(values.astype(np.float32), -1)
    low = [values[..., r - 1] if r else np.full(shape, -np.inf) for r in ranks]
    high = [values[..., count - r] if r else np.full(shape, np.inf) for r in ranks]
    return np.array(low), np.array(high)


def _in_rows(work: Callable[[Array, Array], Ends], x: Array, y: Array, levels: int) -> Ends:
    """Do some rows at a time."""
    shape = np.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    a = np.broadcast_to(x, (*shape, x.shape[-1])).reshape(-1, x.shape[-1])
    b = np.broadcast_to(y, (*shape, y.shape[-1])).reshape(-1, y.shape[-1])
    done = [work(a[i : i + _ROWS], b[i : i + _ROWS]) for i in range(0, len(a), _ROWS)]
    low, high = (np.concatenate([part[side] for part in done], -1) for side in (0, 1))
    return low.reshape(levels, *shape), high.reshape(levels, *shape)


METHODS: dict[str, Method] = {
    "t, Banerjee": banerjee,
    "t, Welch": welch,
    "Johnson": johnson,
    "Hall": hall,
    "Hall outside t": hall_outside,
    "flips": flips,
    "bootstrap-t": bootstrap_t,
}
RESAMPLED = ("flips", "bootstrap-t")
AFTERWARDS = ("Hall outside t",)  # added after the results of the others were seen
