"""How many seeds a study needs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ablate.analyze.spread import Array
from ablate.analyze.verdicts import ALPHA

POWER: Final = 0.8
_MOST_SEEDS = 2**20
_LARGEST_EFFECT = 100.0  # standard deviations; two seeds show it, and nothing overflows


def seeds_for_power(
    spread: Array, margin: Array | float, *, paired: bool = True, alpha: Array | float = ALPHA
) -> Array:
    """Work out how many seeds support a claim in four of five studies, where the truth is 2δ.

    A claim is supported where its interval lies above δ, and that is as likely at a true difference
    of 2δ as an interval above 0 is at one of δ. From the spread that was seen and the δ that
    matters, never from the effect that was seen: that would only say p again.

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
