"""Intervals and tests without the normal distribution: by resampling, flipping signs, ranking.

They are shown beside the t test, to compare it with. All are functions of arrays whose last axis is
seeds, [..., n]; those that draw take a generator.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from ablate.analyze.spread import ROUNDING, Array, standing_in, varies
from ablate.analyze.verdicts import ALPHA

FEWEST = 20  # seeds needed for a bootstrap; with fewer, BCa covers well below its level
MOST_FLIPS = 2**16  # sign flips, up to which all are tried
RESAMPLES = 9999  # resamples of a bootstrap, or random sign flips if there are too many to try all


def bca(
    x: Array, y: Array | None, rng: np.random.Generator, fewest: int = FEWEST
) -> tuple[Array, Array]:
    """Bootstrap a mean, or the difference of two, with bias correction and acceleration.

    Args:
        x: Values [..., n]; for pairs, their differences.
        y: Values of an arm that shares no seeds [..., m], or None.
        rng: Source of the resamples.
        fewest: With fewer values the interval is NaN.

    Returns:
        Its lower and upper ends.

    Source: Efron 1987, JASA 82(397); scipy.stats.bootstrap.
    """
    shape = x.shape[:-1]
    if min(a.shape[-1] for a in (x, y) if a is not None) < max(fewest, 2):
        return np.full(shape, np.nan), np.full(shape, np.nan)
    arms = [arm for arm in (x, y) if arm is not None]
    known = np.logical_and.reduce([varies(arm) for arm in arms])
    samples = tuple(standing_in(known, arm) for arm in arms)
    rows = max(1, int(np.prod(shape)))
    interval = stats.bootstrap(
        samples,
        _mean_along if y is None else _delta_along,
        n_resamples=RESAMPLES,
        batch=max(1, 2**22 // (rows * sum(a.shape[-1] for a in samples))),
        vectorized=True,
        axis=-1,
        confidence_level=1 - ALPHA,
        method="BCa",
        rng=rng,
    ).confidence_interval
    return np.where(known, interval.low, np.nan), np.where(known, interval.high, np.nan)


def _mean_along(x: Array, axis: int) -> Array:
    return np.asarray(x.mean(axis))


def _delta_along(x: Array, y: Array, axis: int) -> Array:
    return np.asarray(x.mean(axis) - y.mean(axis))


def sign_flip(
    differences: Array, rng: np.random.Generator, rounding: Array | float = 0.0
) -> tuple[Array, Array]:
    """Test that paired differences lie symmetrically about zero, by flipping their signs.

    It tries all 2^n flips up to 2^16 of them, beyond that 9999 random ones and the observed one.

    Args:
        differences: [..., n].
        rng: Source of the random flips.
        rounding: By how much each difference may be off; [...] or one number. Sums that differ by
            no more than the total rounding tie.

    Returns:
        The two-sided p of the mean, and the smallest p that n differences can reach.

    Source: Fisher 1935, The Design of Experiments, section 21; Phipson & Smyth 2010 for the sampled
    p. scipy.stats.permutation_test gives the same, as a test checks, but repeats all 2^n flips for
    every arm.
    """
    count = differences.shape[-1]
    if count == 0:
        nothing = np.full(differences.shape[:-1], np.nan)
        return nothing, nothing
    flips, drawn = _flips(count, rng)
    rows = differences.reshape(-1, count)
    off = np.broadcast_to(rounding, differences.shape[:-1]).reshape(-1) * count
    extreme = [_as_extreme(flips, row, more) for row, more in zip(rows, off, strict=True)]
    hits = np.array(extreme).reshape(differences.shape[:-1])
    p = (hits + drawn) / (len(flips) + drawn)
    return p, np.full(p.shape, 1 / (len(flips) + drawn))


def _flips(count: int, rng: np.random.Generator) -> tuple[Array, int]:
    """List signs [flips, n], and 1 if they are a sample, to which the observed signs are added.

    Flipping all signs does not change a two-sided test, so half of a full list is enough.
    """
    if 2**count > MOST_FLIPS:
        return rng.choice(np.array([-1.0, 1.0]), (RESAMPLES, count)), 1
    numbers = np.arange(2 ** (count - 1))
    return np.where((numbers[:, None] >> np.arange(count)) & 1, -1.0, 1.0), 0


def _as_extreme(flips: Array, row: Array, off: float) -> int:
    # Sums of the same numbers in another order differ by rounding too.
    least = abs(row.sum()) - ROUNDING * np.abs(row).sum() - off
    return int((np.abs(flips @ row) >= least).sum())


def wilcoxon(differences: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Test paired differences by their signed ranks.

    Differences of zero are left out. It is exact, ties included, up to n = 16. Beyond that scipy
    chooses (exact up to 50 without ties and zeros, else the normal approximation).

    Args:
        differences: [..., n], rounded so that ties are equal (`spread.differences`).
        rng: For the signs; not drawn from while the flips can be listed.

    Returns:
        The two-sided p, and the smallest p that this many nonzero differences can reach.

    Source: Wilcoxon 1945, Biometrics Bulletin 1(6); scipy.stats.wilcoxon.
    """
    count = differences.shape[-1]
    if count == 0:
        return sign_flip(differences, rng)
    zeros = (differences == 0).sum(-1)
    smallest = np.minimum(1.0, 2.0 ** (1 - (count - zeros)))
    if 2**count <= MOST_FLIPS:
        ranks = stats.rankdata(np.abs(differences), axis=-1) - zeros[..., None]
        return sign_flip(np.sign(differences) * ranks, rng)[0], smallest
    known = zeros < count
    p = stats.wilcoxon(standing_in(known, differences), axis=-1).pvalue
    return np.where(known, p, 1.0), smallest
