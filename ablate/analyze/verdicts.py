"""Verdicts: what a difference says of a claim, and what it takes to say it.

A claim is that an arm's metric lies lower, or higher, than the baseline's (or than another arm's),
by at least a margin δ; or, where nothing is claimed, that it differs at all. In this order:

supported      Holm-corrected p < 0.05, the difference in the claimed direction, and at least δ
refuted        the same in the opposite direction (never of a claim that names none)
equivalent     two one-sided tests, each at 0.05, place the difference within ±δ
inconclusive   anything else, and any comparison without a p

A δ that is not given is zero, and then nothing is ever equivalent. A claim may also be that there
is no difference of δ or more (`equivalent`). Then it is

supported      Holm-corrected p of the two one-sided tests within ±δ below 0.05
refuted        Holm-corrected p of a difference below 0.05, and the difference at least δ
inconclusive   anything else

Of the spread over seeds what is judged is the logarithm of a ratio, and its δ that of a ratio > 1.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ablate.analyze.spread import Array, has_spread, standing_in, varies
from ablate.analyze.student import one_sample, two_samples
from ablate.study.claim import EQUIVALENT

ALPHA: Final = 0.05
POWER: Final = 0.8
VERDICTS: Final = ("supported", "refuted", "equivalent", "inconclusive")
_MOST_SEEDS = 2**20
_LARGEST_EFFECT = 100.0  # standard deviations; two seeds show it, and nothing overflows


def verdict(
    delta: float,
    p_holm: float,
    p_equivalent: float,
    direction: str,
    margin: float | None,
    p_differs: float = math.nan,
) -> str:
    """Judge a claim.

    Args:
        delta: The difference, arm less the other; of spread the logarithm of their ratio.
        p_holm: The p of the claim, corrected: two-sided, or, where equivalence is claimed, the
            larger of the two one-sided tests; NaN where there is none.
        p_equivalent: The larger p of the two one-sided tests within ±margin, or NaN.
        direction: As claimed: ``lower``, ``higher``, ``differs`` or ``equivalent``.
        margin: δ, or None; of spread its logarithm.
        p_differs: The two-sided p, corrected, which may refute equivalence.

    Returns:
        ``supported``, ``refuted``, ``equivalent`` or ``inconclusive``, the first that holds.
    """
    matters = abs(delta) >= (margin or 0)
    if direction == EQUIVALENT:
        if p_holm < ALPHA:
            return "supported"
        return "refuted" if p_differs < ALPHA and matters else "inconclusive"
    if p_holm < ALPHA and matters:
        agrees = {"lower": delta < 0, "higher": delta > 0, "differs": True}[direction]
        return "supported" if agrees else "refuted"
    return "equivalent" if margin is not None and p_equivalent < ALPHA else "inconclusive"


def holm(p: Array) -> Array:
    """Correct the p of a family of comparisons, so that any false one is as rare as α.

    Args:
        p: Two-sided p of each [..., m], in [0, 1]; one that is NaN counts in the family and stays
            NaN.

    Returns:
        The corrected p [..., m].

    Source: Holm 1979, Scand. J. Statistics 6(2). statsmodels' multipletests, with which a test
    holds it equal, takes one family at a time and collects the process's garbage at each call.
    """
    known = np.where(np.isnan(p), 1.0, p)
    order = known.argsort(-1)
    left = np.arange(p.shape[-1], 0, -1)  # hypotheses that have not been rejected before
    stepped = np.maximum.accumulate(np.take_along_axis(known, order, -1) * left, -1)
    corrected = np.take_along_axis(stepped, order.argsort(-1), -1).clip(max=1)
    return np.where(np.isnan(p), np.nan, corrected)


# -- equivalence -----------------------------------------------------------------------------------


def equivalence_paired(x: Array, y: Array, margin: Array | float) -> Array:
    """Test that the mean of paired differences lies within ±margin: two one-sided t tests.

    Args:
        x: Values of an arm [..., n].
        y: Of the baseline [..., n], seed by seed.
        margin: [...] or one number, > 0.

    Returns:
        The larger p of the two, [...]; NaN below two seeds or without spread.

    Source: Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15(6).
    """
    if x.shape[-1] < 2:
        return np.full(x.shape[:-1], np.nan)
    known = has_spread(x, y)
    return np.where(known, one_sample(standing_in(known, x - y)).p_within(margin), np.nan)


def equivalence_welch(x: Array, y: Array, margin: Array | float) -> Array:
    """Test that two means lie within ±margin of each other, without shared seeds.

    Args:
        x: Values of an arm [..., n].
        y: Of the baseline [..., m].
        margin: [...] or one number, > 0.

    Returns:
        As `equivalence_paired`.

    Source: Schuirmann 1987, with Welch's t.
    """
    if min(x.shape[-1], y.shape[-1]) < 2:
        return np.full(x.shape[:-1], np.nan)
    known = varies(x) | varies(y)
    test = two_samples(standing_in(known, x), standing_in(known, y))
    return np.where(known, test.p_within(margin), np.nan)


# -- how many seeds --------------------------------------------------------------------------------


def seeds_for_power(
    spread: Array, margin: Array | float, *, paired: bool = True, alpha: Array | float = ALPHA
) -> Array:
    """Work out how many seeds show a difference of δ in four of five repetitions of a study.

    From the spread that was seen and the δ that matters, never from the effect that was seen: that
    would only say p again.

    Args:
        spread: Standard deviation of the paired differences, or of the values within an arm [...].
        margin: δ, in the same unit.
        paired: Whether arms share seeds; else it is the seeds of each of two arms.
        alpha: Level of the two-sided test; a share of 0.05 where it is one of a family.

    Returns:
        The smallest whole number ≥ 2, [...]; NaN without spread, and beyond 2^20.

    Source: Cohen 1988, Statistical Power Analysis, chapter 2, with the noncentral t.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower  # two seconds

    known = spread > 0
    effect = np.minimum(margin / np.where(known, spread, 1), _LARGEST_EFFECT)
    test, level = TTestPower() if paired else TTestIndPower(), np.asarray(alpha) / 2

    def enough(seeds: Array) -> NDArray[np.bool_]:
        # The far tail, too small to matter here, and power beside 1 come as NaN from scipy.
        power = test.power(effect, seeds, level, alternative="larger")
        return np.asarray(~(power < POWER))

    # Doubling from below: far above the answer the noncentral t loses its digits.
    low, high = np.ones_like(effect), np.full_like(effect, 2.0)
    while (short := ~enough(high) & (high < _MOST_SEEDS)).any():
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    reached = enough(high)
    while (apart := high - low > 1).any():
        middle = np.where(apart, (low + high) // 2, high)
        enough_there = enough(middle)
        high = np.where(enough_there, middle, high)
        low = np.where(enough_there, low, middle)
    return np.where(known & reached, high, np.nan)


def smallest_p(seeds: int) -> float:
    """Give the smallest two-sided p that a sign-flip or signed-rank test of n pairs can attain.

    Returns:
        2^(1 - n): 0.0625 at n = 5, where such a test cannot reach 0.05.
    """
    return math.ldexp(1.0, 1 - seeds) if seeds > 0 else math.nan
