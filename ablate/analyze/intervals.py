"""Intervals of means and their differences, in closed form over [..., n].

The squared standard error of a difference is a sum of components, each with its own degrees of
freedom: a single one if arms share their seeds, one per arm if they do not, and seeds and
images if both vary. Half the width of the interval is

    half² = Σ t²(νᵢ) · componentᵢ

with Student's two-sided quantile t at νᵢ. For normal values such an interval covers at least as
often as it claims, whatever the components' shares (Banerjee 1960, Sankhyā 22). Welch's, which
approximates one number of degrees of freedom for the sum, falls short where n is small and unequal.
With one component it is Student's t.

The p-value of 0, or of any other value, is the level at which the interval touches it, so p and
interval cannot disagree.

scipy.stats has Student's tests (a unit test compares them with these), but importing it takes
longer than everything else the terminal's table needs. So only scipy.special is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from ablate.analyze.spread import Array, has_spread, varies

_HALVINGS = 60  # of a bracket in log p: to the last digits
_SMALLEST_P = 1e-100  # of several components: beyond, Student's quantiles lose their digits


@dataclass(frozen=True)
class Component:
    """A part of an estimate's squared standard error.

    Attributes:
        variance: [...], in squared units of the estimate, ≥ 0; NaN where it is not known.
        freedom: Its degrees of freedom, > 0; [...] or one number.
    """

    variance: Array
    freedom: Array | float


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, with its error.

    Attributes:
        centre: [...].
        components: One or more, whose variances add up. If one is NaN, so is all but the centre.
    """

    centre: Array
    components: tuple[Component, ...]

    @property
    def error(self) -> Array:
        """The standard error, [...]."""
        return np.asarray(np.sqrt(sum(part.variance for part in self.components)))

    def half(self, alpha: Array | float) -> Array:
        """Return half the width of the interval at level 1 - alpha.

        Args:
            alpha: In (0, 1), [...] or one number; 0.05/m for each of m intervals that hold
                together.

        Source: Banerjee 1960, Sankhyā 22; for one component Student 1908, Biometrika 6(1).
        """
        at = np.asarray(alpha) / 2
        squares = (special.stdtrit(c.freedom, at) ** 2 * c.variance for c in self.components)
        return np.asarray(np.sqrt(sum(squares)))

    def interval(self, alpha: Array | float) -> tuple[Array, Array]:
        """Return both ends of the interval at level 1 - alpha, as in `half`."""
        half = self.half(alpha)
        return self.centre - half, self.centre + half

    def p(self, value: Array | float = 0.0) -> Array:
        """Return the alpha at which the interval touches a value: its two-sided p.

        Args:
            value: [...] or one number.

        Returns:
            [...], in [0, 1]; with several components never below 1e-100.
        """
        away, error = np.abs(self.centre - value), self.error
        t = -away / np.where(error > 0, error, np.nan)
        # As if all components were known as badly as the worst, or as well as the best:
        bounds = np.array([2 * special.stdtr(c.freedom, t) for c in self.components])
        if len(self.components) == 1:
            return np.asarray(bounds[0])
        low, high = np.log(bounds.min(0).clip(_SMALLEST_P)), np.log(bounds.max(0).clip(_SMALLEST_P))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            reaches = self.half(np.exp(middle)) >= away
            low, high = np.where(reaches, middle, low), np.where(reaches, high, middle)
        return np.asarray(np.exp(high))


def with_component(estimate: Estimate, more: Component) -> Estimate:
    """Add a component to an estimate's error."""
    return replace(estimate, components=(*estimate.components, more))


def mean(x: Array) -> Estimate:
    """Estimate a mean.

    Args:
        x: Values [..., n].

    Returns:
        One component, which is NaN if there are fewer than two values or they differ only by
        rounding.
    """
    return Estimate(_mean(x), (_component(x, varies(x)),))


def paired(x: Array, y: Array) -> Estimate:
    """Estimate the difference of arms that share their seeds, x - y.

    Args:
        x: Values of an arm [..., n].
        y: Values of the baseline [..., n], seed by seed.

    Returns:
        As `mean`, for the differences.
    """
    return Estimate(_mean(x) - _mean(y), (_component(x - y, has_spread(x, y)),))


def unpaired(x: Array, y: Array) -> Estimate:
    """Estimate the difference of arms that share no seeds, x - y; their variances may differ.

    Args:
        x: Values of an arm [..., n].
        y: Of the baseline [..., m].

    Returns:
        One component per arm. Both are NaN if either arm has fewer than two values, or values that
        differ only by rounding: three seeds on a small test set easily agree to the image.
    """
    return weighted((x, y), (1.0, -1.0))


def weighted(parts: Sequence[Array], weights: Sequence[float] | Array) -> Estimate:
    """Estimate a weighted sum of the means of several sets of runs that share no seeds.

    Args:
        parts: Values of each set, [..., n] with its own n.
        weights: One factor per set.

    Returns:
        One component per set, NaN as in `unpaired`.
    """
    known = np.all([varies(part) for part in parts], axis=0)
    found = list(zip(parts, weights, strict=True))
    centre = np.asarray(sum(weight * _mean(part) for part, weight in found))
    return Estimate(centre, tuple(_component(part, known, weight) for part, weight in found))


def _mean(x: Array) -> Array:
    return np.asarray(x.mean(-1)) if x.shape[-1] else np.full(x.shape[:-1], np.nan)


def _component(
    x: Array, known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], weight: float = 1.0
) -> Component:
    """Work out the variance of a weighted mean; NaN where it is not known."""
    count = x.shape[-1]
    if count < 2:
        return Component(np.full(known.shape, np.nan), 1)
    return Component(np.where(known, weight**2 * x.var(-1, ddof=1) / count, np.nan), count - 1)
