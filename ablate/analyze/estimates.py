"""Estimates over seeds: intervals of means, and effect sizes.

Pure functions of arrays whose last axis is seeds, [..., n]; leading axes (arms, simulations) are
worked out at once. Values are complete: the caller leaves out missing runs and counts them.
scipy and statsmodels do the arithmetic. Their larger parts are imported by the effect sizes when
called, since no terminal shows those. See `intervals` for differences, `resampling` for bootstraps
and `verdicts` for judgements.

With nothing to estimate from (fewer than two seeds, or no spread beyond rounding) the answer is
NaN, never a certainty: two seeds on a small test set easily agree to the image, and an interval of
zero width would call that proof.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.analyze.spread import ROUNDING, Array, has_spread, sd, standing_in, varies
from ablate.analyze.verdicts import ALPHA


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval, [...] each, in the unit of the values."""

    value: Array
    low: Array
    high: Array


# -- means -----------------------------------------------------------------------------------------


def t_interval(centre: Array, spread: Array, count: NDArray[np.int64] | Array) -> Interval:
    """Compute the t intervals of means from summary statistics.

    Args:
        centre: Means.
        spread: Standard deviations with n - 1; of the same shape.
        count: Numbers of values, n.
    """
    known = (count >= 2) & (spread > ROUNDING * np.abs(centre))
    enough = np.where(known, count, 2)
    half = special.stdtrit(enough - 1, 1 - ALPHA / 2) * spread / np.sqrt(enough)
    half = np.where(known, half, np.nan)
    return Interval(centre, centre - half, centre + half)


# -- sizes of effects ------------------------------------------------------------------------------


def improvement(x: Array, y: Array) -> Array:
    """Estimate the probability that a run of the arm lies below one of the baseline, ties half.

    It takes all pairs of runs, whether or not seeds are shared: Mann and Whitney's U over n m.

    Args:
        x: Values of an arm [..., n].
        y: Of the baseline [..., m].

    Source: Agarwal et al. 2021, arXiv:2108.13264, section 4.3.
    """
    few, many = x.shape[-1], y.shape[-1]
    if min(few, many) == 0:
        return np.full(x.shape[:-1], np.nan)
    from scipy import stats

    ranks = stats.rankdata(np.concatenate([x, y], -1), axis=-1)[..., :few]
    above = ranks.sum(-1) - few * (few + 1) / 2
    return np.asarray(1 - above / (few * many))


def d_z(x: Array, y: Array) -> Array:
    """Compute Cohen's d_z, the mean of paired differences in units of their standard deviation.

    Source: Lakens 2013, Frontiers in Psychology 4:863, equation 6.
    """
    if x.shape[-1] < 2:
        return np.full(x.shape[:-1], np.nan)
    known = has_spread(x, y)
    spread = np.where(known, sd(x - y), 1)
    return np.where(known, (x.mean(-1) - y.mean(-1)) / spread, np.nan)


def hedges_g(x: Array, y: Array) -> Array:
    """Compute Hedges' g: the difference of means over the pooled deviation, corrected for bias.

    Source: Hedges 1981, J. Educational Statistics 6(2); statsmodels' effectsize_smd, with the
    correction 1 - 3 / (4 df - 1).
    """
    few, many = x.shape[-1], y.shape[-1]
    if min(few, many) < 2:
        return np.full(x.shape[:-1], np.nan)
    known = varies(x) | varies(y)
    from statsmodels.stats.meta_analysis import effectsize_smd

    spread_x, spread_y = np.where(known, sd(x), 1), np.where(known, sd(y), 1)
    value, _ = effectsize_smd(x.mean(-1), spread_x, few, y.mean(-1), spread_y, many)
    return np.where(known, value, np.nan)


def correlation(x: Array, y: Array) -> Array:
    """Compute Pearson's correlation of arms over shared seeds: what pairing can gain.

    NaN below three seeds, where it is ±1 by construction.
    """
    if x.shape[-1] < 3:
        return np.full(x.shape[:-1], np.nan)
    known = varies(x) & varies(y)
    from scipy import stats

    found = stats.pearsonr(standing_in(known, x), standing_in(known, y), axis=-1)
    return np.where(known, found.statistic, np.nan)
