"""Verdicts, which depend only on where a claim's interval lies.

A claim is that an arm's metric lies lower, or higher, than the baseline's (or than another arm's),
that it differs, or that it is equivalent. δ, where one is given, is the smallest difference that
matters. With the difference turned so that the claimed direction is positive, its simultaneous
interval says

    claim           interval                              verdict
    lower, higher   above +δ                              supported
                    above 0 otherwise, not within ±δ      supported, size open
                    within ±δ                             too small to matter
                    below -δ                              refuted
                    below 0 otherwise, not within ±δ      refuted, size open
    differs         beyond +δ or -δ                       supported
                    excludes 0 otherwise, not within ±δ   supported, size open
                    within ±δ                             too small to matter
    equivalent      within ±δ                             supported
                    beyond +δ or -δ                       refuted
    any             anything else                         open

Without δ, ``lower`` and ``higher`` are supported above 0 and refuted below it, and ``differs`` is
supported if the interval excludes 0. Comparisons are strict. Equivalence is a claim about size, so
it needs δ.

Some claim of a study gets a false verdict in 5 % of studies at most, on normal data: with m claims,
each interval is at 1 - 0.05/m. What nobody claimed is described in words of sign and size instead,
with the same promise for the family of descriptions.

For spread over seeds, the logarithm of a ratio is judged; its δ is that of a ratio > 1.

Source: Goeman, Solari and Stijnen 2010, Statistics in Medicine 29 (three-sided testing).
"""

from __future__ import annotations

import math
from typing import Final

from ablate.study.claim import EQUIVALENT

ALPHA: Final = 0.05
SUPPORTED: Final = "supported"
SUPPORTED_OPEN: Final = "supported, size open"
TOO_SMALL: Final = "too small to matter"
REFUTED: Final = "refuted"
REFUTED_OPEN: Final = "refuted, size open"
OPEN: Final = "open"
VERDICTS: Final = (SUPPORTED, SUPPORTED_OPEN, TOO_SMALL, REFUTED, REFUTED_OPEN, OPEN)

# Descriptions: ``lower`` and ``higher`` alone leave the size open.
MUCH_LOWER: Final = "lower by more than δ"
LOWER: Final = "lower"
SLIGHTLY_LOWER: Final = "lower by less than δ"
WITHIN: Final = "within ±δ"
SLIGHTLY_HIGHER: Final = "higher by less than δ"
HIGHER: Final = "higher"
MUCH_HIGHER: Final = "higher by more than δ"
UNKNOWN: Final = "not told apart"
DESCRIPTIONS: Final = (
    *(MUCH_LOWER, LOWER, SLIGHTLY_LOWER, WITHIN),
    *(SLIGHTLY_HIGHER, HIGHER, MUCH_HIGHER, UNKNOWN),
)


def verdict(low: float, high: float, direction: str, margin: float | None = None) -> str:
    """Judge a claim by its interval.

    Args:
        low: Lower end of the simultaneous interval of the difference, arm minus the other; for
            spread, of the logarithm of the ratio. NaN without an interval.
        high: Upper end.
        direction: As claimed: ``lower``, ``higher``, ``differs`` or ``equivalent``.
        margin: δ > 0, or None; for spread its logarithm.

    Returns:
        One of `VERDICTS`; ``open`` without an interval.
    """
    if direction == "lower":
        low, high = -high, -low
    within = margin is not None and -margin < low and high < margin
    above, below = low > (margin or 0), high < -(margin or 0)
    if direction == EQUIVALENT:
        return SUPPORTED if within else REFUTED if above or below else OPEN
    if within:
        return TOO_SMALL
    if direction == "differs":
        above, low = above or below, max(low, -high)
        below, high = False, math.nan
    if above:
        return SUPPORTED
    if low > 0:
        return SUPPORTED_OPEN
    if below:
        return REFUTED
    return REFUTED_OPEN if high < 0 else OPEN


def description(low: float, high: float, margin: float | None = None) -> str:
    """Describe a difference that nobody made a claim about, by its interval.

    Args:
        low: As in `verdict`.
        high: As in `verdict`.
        margin: As in `verdict`.

    Returns:
        One of `DESCRIPTIONS`; ``not told apart`` without an interval.
    """
    if margin is not None and -margin < low and high < margin:
        return SLIGHTLY_HIGHER if low > 0 else SLIGHTLY_LOWER if high < 0 else WITHIN
    if low > 0:
        return MUCH_HIGHER if margin is not None and low > margin else HIGHER
    if high < 0:
        return MUCH_LOWER if margin is not None and high < -margin else LOWER
    return UNKNOWN
