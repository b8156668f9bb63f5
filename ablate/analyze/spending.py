"""How much of α an early look at a study may spend, and what that leaves for its planned end.

If you look at a growing study again and again, and stop once an interval leaves out 0, you find
something in far more than 5 % of studies where there is nothing. So each look gets its own level. A
spending function says how much of α may be used up to each moment (the share of planned seeds that
have ended), and the level of a look follows from what earlier looks used. Early looks cost almost
nothing: the first of five equally spaced looks has a level of 0.000001, and the last still has
0.042.

Levels are computed for a Brownian motion and applied to the p-values of t tests as they are; a
simulation (`scripts/simulations/looks.py`) shows how well that works with few seeds.

Source: Lan and DeMets 1983, Biometrika 70(3), whose first function this is, after O'Brien and
Fleming 1979, Biometrics 35(3); the integration: Armitage, McPherson and Rowe 1969, JRSS A 132(2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import special

from ablate.analyze.spread import Array

_STEPS = 200  # halvings of an interval of z, more than a float can resolve
_FARTHEST = 38.0  # the largest z whose tail a float can hold
_TAILS = 10.0  # standard deviations: how far an integral reaches
_NODES = (64, 128, 256, 512, 1024, 2048)  # of an integral


def spent(time: float, alpha: float) -> float:
    """Return how much of α may be used up to a moment: 2 - 2 Φ(z / √time) of α / 2 on each side.

    Args:
        time: The share of the planned information so far, in (0, 1].
        alpha: Two-sided, in (0, 1).
    """
    return float(4 * special.ndtr(special.ndtri(alpha / 4) / math.sqrt(time)))


def level_at(before: Sequence[float], now: float, alpha: float) -> float:
    """Compute the nominal two-sided level of a look: its interval has confidence 1 - level.

    Args:
        before: Times of the looks so far, in order: shares of the planned seeds that had ended. A
            time of 0 or less is not a look.
        now: Time of this look, > 0. Above 1 it counts as 1, since nothing is spent after the end.
        alpha: What the study spends in total, two-sided: 0.05 / m for each of m claims.

    Returns:
        The level, in (0, α]; all of α at the end of a study that nobody looked at before. A look no
        later than an earlier one spends nothing new: it has the level of the last look that was not
        later.
    """
    first, *others = [min(time, 1.0) for time in (*before, now) if time > 0]
    taken = [first]
    taken += [t for i, t in enumerate(others) if t > max(first, *others[:i], 0.0)]
    now = min(now, 1.0)
    levels = levels_of(tuple(taken), alpha)
    earlier = [level for time, level in zip(taken, levels, strict=True) if time <= now]
    return earlier[-1] if earlier else levels_of((now,), alpha)[0]


@lru_cache(maxsize=1024)
def levels_of(times: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """Compute the nominal two-sided level of each look in a series.

    Args:
        times: Shares of the planned information, increasing, in (0, 1].
        alpha: What is spent by time 1, two-sided.
    """
    assert all(a < b for a, b in zip((0.0, *times), (*times, 1.5), strict=True)), "times rise"
    levels: list[float] = []
    used, before = 0.0, 0.0
    points, density = np.zeros(1), np.ones(1)  # the motion begins at 0
    for i, time in enumerate(times):
        step = math.sqrt(time - before)
        total = spent(time, alpha)
        bound = _bound(points, density, step, math.sqrt(time), total - used)
        levels.append(float(2 * special.ndtr(-bound)))
        if i + 1 < len(times):
            narrow = min(step, math.sqrt(times[i + 1] - time))
            bound = min(bound, _TAILS) * math.sqrt(time)
            points, density = _carried(points, density, step, bound, narrow)
        used, before = total, time
    return tuple(levels)


def _bound(points: Array, density: Array, step: float, scale: float, part: float) -> float:
    """Find the z that the motion first crosses at this look with probability `part`.

    Args:
        points: Where it may be at the last look, and the weights of an integral over them.
        density: The probability of each, of a motion that had not passed by then.
        step: The standard deviation of what it moves between the looks.
        scale: The standard deviation of where it is now.
        part: In (0, 1).
    """
    low, high = 0.0, _FARTHEST
    for _ in range(_STEPS):
        z = (low + high) / 2
        if z in (low, high):
            break
        outside = special.ndtr((points - z * scale) / step)
        outside += special.ndtr((-points - z * scale) / step)
        low, high = (z, high) if density @ outside > part else (low, z)
    return high


def _carried(
    points: Array, density: Array, step: float, bound: float, narrow: float
) -> tuple[Array, Array]:
    """Move a motion on by a step, and stop what lies beyond ±bound.

    The integral is by Gauss and Legendre, with a few nodes for each standard deviation of the
    narrowest kernel that it meets.

    Returns:
        Points, and the probability at each, as `_bound` takes them.
    """
    wanted = 32 + 4 * bound / narrow
    nodes, weights = _legendre(next((count for count in _NODES if count > wanted), _NODES[-1]))
    to = bound * nodes
    kernel = np.exp(-(((to[:, None] - points) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
    return to, bound * weights * (kernel @ density)


@lru_cache(maxsize=len(_NODES))
def _legendre(count: int) -> tuple[Array, Array]:
    """Return nodes in (-1, 1) and their weights; many take a second to work out."""
    return np.polynomial.legendre.leggauss(count)
