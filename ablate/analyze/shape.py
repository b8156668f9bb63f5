"""Whether the shape of values over seeds lets their interval miss more often than it claims.

Student's and Banerjee's intervals are right for normal values. Seeds depart from that, but long
tails on both sides and ties do no harm. A tail on one side does, such as rare bad seeds of one arm
cause: most samples hold too few of them, so the interval leans away from the tail and is too
short. So this looks for skewness. Rare bad seeds that are not in the sample leave no trace.
Below ten values even a lognormal tail shows in less than half of samples; then the doubt is that it
cannot be seen. results/published/simulations has how often intervals miss, and how often such a
doubt is raised.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.analyze.spread import Array, differences, has_spread, standing_in, varies

FEW: Final = "few seeds"  # too few to see a tail
UP: Final = "skewed up"  # the tail points to larger differences
DOWN: Final = "skewed down"
FEWEST: Final = 10  # that show a tail
_LEVEL = 0.05  # this share of normal differences is called skewed


def doubt(x: Array, y: Array, *, paired: bool) -> NDArray[np.str_]:
    """Say why the interval of a difference of means may miss more often than it claims.

    Args:
        x: Values of an arm [..., n].
        y: Of the baseline [..., m]; where arms share their seeds [..., n], seed by seed.
        paired: Whether they do.

    Returns:
        [...]: ``few seeds`` below ten in either arm; ``skewed up`` or ``skewed down``, with the
        tail on the side of larger or smaller x - y; else an empty string. One in twenty normal
        samples is called skewed. Without spread there is no interval, and nothing is said.
    """
    if paired:
        known, level = has_spread(x, y), _LEVEL
        z = _standing(differences(x, y), known)
    else:
        known, level = varies(x) & varies(y), _LEVEL / 2  # of two chances
        of_x, of_y = _standing(x, known), -_standing(y, known)
        z = np.where(np.abs(of_x) >= np.abs(of_y), of_x, of_y)
    if min(x.shape[-1], y.shape[-1]) < FEWEST:
        return np.where(known, FEW, "")
    beyond = np.abs(z) > -special.ndtri(level / 2)
    return np.where(known & beyond, np.where(z > 0, UP, DOWN), "")


def _standing(x: Array, known: NDArray[np.bool_]) -> Array:
    return np.where(known, skewness_z(standing_in(known, x)), 0.0)


def skewness_z(x: Array) -> Array:
    """Scale the skewness of values so that for normal values it is standard normal.

    Args:
        x: Values [..., n], n ≥ 8, not all equal.

    Returns:
        [...]; NaN below eight values, where the scale is unknown.

    Source: D'Agostino 1970, Biometrika 57(3); scipy.stats.skewtest, which takes long to import.
    """
    n = x.shape[-1]
    if n < 8:
        return np.full(x.shape[:-1], np.nan)
    centred = x - x.mean(-1, keepdims=True)
    skewness = (centred**3).mean(-1) / (centred**2).mean(-1) ** 1.5
    scaled = skewness * np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    tails = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    square = np.sqrt(2 * (tails - 1)) - 1
    return np.asarray(np.arcsinh(scaled * np.sqrt((square - 1) / 2)) / np.sqrt(np.log(square) / 2))
