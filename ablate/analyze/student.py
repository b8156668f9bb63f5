"""Student's t tests of means, in closed form over [..., n]: one sample, pairs, or two arms.

scipy.stats has the same tests (a unit test compares them with these), but takes longer to import
than everything else that the terminal's table of arms needs. So only scipy.special is used, for the
distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from ablate.analyze.spread import Array


@dataclass(frozen=True)
class TTest:
    """A mean, or a difference of means, with its standard error; each [...].

    Attributes:
        centre: The estimate.
        error: Its standard error, > 0.
        freedom: Degrees of freedom.
    """

    centre: Array
    error: Array
    freedom: Array | float

    def interval(self, level: float) -> tuple[Array, Array]:
        """Return the ends of the two-sided confidence interval, for a level in (0, 1)."""
        half = special.stdtrit(self.freedom, (1 + level) / 2) * self.error
        return self.centre - half, self.centre + half

    @property
    def p(self) -> Array:
        """The two-sided p value of the hypothesis that the centre is 0."""
        return np.asarray(2 * special.stdtr(self.freedom, -np.abs(self.centre / self.error)))

    def p_within(self, margin: Array | float) -> Array:
        """Return the p value of equivalence within ±margin: the larger of two one-sided tests.

        Source: Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15(6).
        """
        above = special.stdtr(self.freedom, -(self.centre + margin) / self.error)
        below = special.stdtr(self.freedom, (self.centre - margin) / self.error)
        return np.asarray(np.maximum(above, below))


def one_sample(x: Array) -> TTest:
    """Test a mean.

    Args:
        x: Values [..., n], n ≥ 2, not all equal; for pairs, their differences.

    Source: Student 1908, Biometrika 6(1).
    """
    count = x.shape[-1]
    return TTest(x.mean(-1), np.sqrt(x.var(-1, ddof=1) / count), count - 1)


def two_samples(x: Array, y: Array) -> TTest:
    """Test the difference of two means, x minus y, without assuming equal variances.

    Args:
        x: Values [..., n], n ≥ 2.
        y: Values [..., m], m ≥ 2; at least one of x and y varies.

    Source: Welch 1947, Biometrika 34.
    """
    few, many = x.shape[-1], y.shape[-1]
    of_x, of_y = x.var(-1, ddof=1) / few, y.var(-1, ddof=1) / many
    freedom = (of_x + of_y) ** 2 / (of_x**2 / (few - 1) + of_y**2 / (many - 1))
    return TTest(x.mean(-1) - y.mean(-1), np.sqrt(of_x + of_y), freedom)
