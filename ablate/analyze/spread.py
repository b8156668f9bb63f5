"""Spread among seeds: how much there is, and whether there is any beyond rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-12  # relative to the largest value; less spread than this counts as none


def sd(x: Array) -> Array:
    """Compute standard deviations with n - 1, [..., n] -> [...]; NaN below two values."""
    return x.std(-1, ddof=1) if x.shape[-1] >= 2 else np.full(x.shape[:-1], np.nan)


def pooled_sd(x: Array, y: Array) -> Array:
    """Pool the standard deviations of two arms [..., n] and [..., m], by degrees of freedom."""
    few, many = x.shape[-1] - 1, y.shape[-1] - 1
    if min(few, many) < 1:
        return np.full(x.shape[:-1], np.nan)
    return np.asarray(np.sqrt((few * sd(x) ** 2 + many * sd(y) ** 2) / (few + many)))


def differences(x: Array, y: Array) -> Array:
    """Subtract the baseline seed by seed, [..., n], and round away float noise.

    0.3 - 0.2 and 0.2 - 0.1 differ in the last bits, but ranks should see a tie.
    """
    unit = rounding(x, y)[..., None]
    return np.asarray(np.round((x - y) / unit) * unit)


def rounding(x: Array, y: Array) -> Array:
    """Return the unit to which `differences` rounds, [...]; each may be off by that much."""
    largest = np.maximum(np.abs(x), np.abs(y)).max(-1, initial=0)
    return np.asarray(np.where(largest > 0, largest, 1) * ROUNDING)


def varies(x: Array) -> NDArray[np.bool_]:
    """Tell whether values [..., n] vary by more than their rounding."""
    return np.asarray(sd(x) > ROUNDING * np.abs(x).max(-1, initial=0))


def has_spread(x: Array, y: Array) -> NDArray[np.bool_]:
    """Tell whether paired differences [..., n] vary by more than the rounding of their parts."""
    largest = np.maximum(np.abs(x), np.abs(y)).max(-1, initial=0)
    return np.asarray(sd(x - y) > ROUNDING * largest)


def standing_in(known: NDArray[np.bool_], x: Array) -> Array:
    """Put 0, 1, 2, ... where there is no spread to divide by; the caller discards the answers.

    Args:
        known: [...], where to keep x.
        x: Values [..., n].
    """
    return np.where(known[..., None], x, np.arange(x.shape[-1], dtype=float))
