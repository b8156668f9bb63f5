"""Two arms on the same images: how far their difference would vary over new images as well.

Each of n networks answers each of I test images, right or wrong. For arms that share their seeds,
the difference d of seed s on image i is -1, 0 or 1, and

    d_si = difference + seed_s + image_i + rest_si

with all three drawn anew where both seeds and images are new. The mean over all of them then has
the variance

    SE² = seeds + images - interaction

    seeds        variance of the seeds' means over images, / n
    images       variance of the images' means over seeds, / I
    interaction  mean square of the rest, / (n I): both others contain it, so it is subtracted once

Arms with seeds of their own have a `seeds` and an `interaction` each, and share the images.

Source: Searle, Casella and McCulloch 1992, Variance Components, section 4.3 (two-way crossed
classification, random, without replication). McNemar 1947, Psychometrika 12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class OverImages:
    """What new images add to the error of a difference.

    Attributes:
        variance: Squared error over new images, had these networks answered them: ``images``.
        interaction: The part of it that the components of the seeds contain too; NaN with one seed.
        apart: The same, if the arms did not share seeds.
        images: How many images, I ≥ 2.
        p: Exact two-sided p for these networks being equally good, if each arm has one; otherwise
            NaN.
    """

    variance: float
    interaction: float
    apart: float
    images: int
    p: float

    def added(self, *, paired: bool) -> float:
        """The component to add to those of the seeds, ≥ 0; NaN if there is a single seed."""
        return max(self.variance - (self.interaction if paired else self.apart), 0.0)


def paired(x: Bits, y: Bits) -> OverImages:
    """Compare arms that share their seeds.

    Args:
        x: Which images each network of an arm got right [n, I], I ≥ 2.
        y: The same for the other arm [n, I], seed by seed.
    """
    d = x.astype(np.int8) - y.astype(np.int8)
    return replace(unpaired(x, y), interaction=_interaction(d))


def unpaired(x: Bits, y: Bits) -> OverImages:
    """Compare arms with seeds of their own.

    Args:
        x: Which images each network of an arm got right [n, I], I ≥ 2.
        y: The same for the other arm [m, I].
    """
    one, other = x.astype(np.int8), y.astype(np.int8)
    variance = _variance(one.mean(0) - other.mean(0))
    apart = _interaction(one) + _interaction(other)
    return OverImages(variance, apart, apart, x.shape[1], _p(x, y))


def _variance(means: NDArray[np.float64]) -> float:
    """Compute the variance of the mean of image means [I]."""
    return float(means.var(ddof=1)) / len(means)


def _interaction(d: NDArray[np.int8]) -> float:
    """Compute the mean square of what neither seeds nor images explain, over n I; [n, I]."""
    n, images = d.shape
    if n < 2:
        return float("nan")
    of_seeds, of_images = (d.sum(axis, dtype=np.int64) for axis in (1, 0))
    whole = int(np.count_nonzero(d)) + int(of_seeds.sum()) ** 2 / (n * images)  # d² is 0 or 1
    explained = int((of_seeds**2).sum()) / images + int((of_images**2).sum()) / n
    return float((whole - explained) / ((n - 1) * (images - 1)) / (n * images))


def _p(x: Bits, y: Bits) -> float:
    """Test exactly whether two networks err equally often; NaN for more than two."""
    if len(x) != 1 or len(y) != 1:
        return float("nan")
    fewer, more = sorted((int((x & ~y).sum()), int((y & ~x).sum())))
    return min(1.0, 2 * float(special.bdtr(fewer, fewer + more, 0.5)))
