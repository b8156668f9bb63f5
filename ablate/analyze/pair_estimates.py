"""All estimates of pairs at once: a thousand arms take no longer than a few calls.

What each column holds is told where they become a table, in `contrasts`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ablate.analyze import estimates, spread_tests, verdicts
from ablate.analyze.pairs import Pair
from ablate.analyze.spread import Array, differences, pooled_sd, sd
from ablate.metrics import metric_of

DIFFERENCE = ("delta", "ci_low", "ci_high", "p")
BESIDE = (
    *("correlation", "p_welch", "mean", "sd", "baseline_mean", "baseline_sd"),
    *("d_z", "hedges_g", "improvement"),
)
COSTLY = (
    *("p_equivalent", "seeds_for_power", "bca_low", "bca_high"),
    *("p_permutation", "p_permutation_min", "p_wilcoxon", "p_wilcoxon_min"),
)


def estimated(
    pairs: Sequence[Pair],
    margin: Array,
    family: Array,
    costly: np.ndarray[tuple[int], np.dtype[np.bool_]],
    rng: np.random.Generator,
    *,
    brief: bool = False,
) -> dict[str, Array]:
    """Estimate pairs in groups of equal n.

    Args:
        pairs: Values; m of them.
        margin: δ of each [m], NaN where there is none.
        family: How many comparisons are corrected together with each [m].
        costly: For which what is costly is wanted too [m].
        rng: Source of the resamples.
        brief: Whether only what decides is wanted, and nothing of what stands beside it.

    Returns:
        Columns [m] by name: ``n``, ``n_baseline``, and those that this module lists, NaN where
        there is nothing to estimate from or nothing is wanted.
    """
    names = ("n", "n_baseline", *DIFFERENCE, *BESIDE, *COSTLY)
    columns = {name: np.full(len(pairs), np.nan) for name in names}
    groups: dict[tuple[str, bool, int, int, bool], list[int]] = {}
    for i, pair in enumerate(pairs):
        kind = (pair.what.statistic, pair.paired, len(pair.x), len(pair.y), bool(costly[i]))
        groups.setdefault(kind, []).append(i)
    for (statistic, paired, few, many, dear), rows in groups.items():
        x, y = np.array([pairs[i].x for i in rows]), np.array([pairs[i].y for i in rows])
        found = {"n": np.full(len(rows), few), "n_baseline": np.full(len(rows), many)}
        found |= _both(x, y)
        if statistic == "spread":
            found |= _ratio(x, y, paired, margin[rows])
        else:
            found |= _difference((estimates.paired if paired else estimates.welch)(x, y))
            found |= _equivalent(x, y, paired, margin[rows]) if dear else {}
            if not brief:
                found |= _beside(x, y, paired)
                found |= _sizes(x, y, [metric_of(pairs[i].what.metric).better for i in rows])
                found |= _costly(x, y, paired, margin[rows], family[rows], rng) if dear else {}
        for name, numbers in found.items():
            columns[name][rows] = numbers
    whole = ("n", "n_baseline")
    return {n: c.astype(np.int64) if n in whole else c for n, c in columns.items()}


def _difference(found: estimates.Difference) -> dict[str, Array]:
    return {"delta": found.value, "ci_low": found.low, "ci_high": found.high, "p": found.p}


def _beside(x: Array, y: Array, paired: bool) -> dict[str, Array]:
    welch = {"p_welch": estimates.welch(x, y).p}
    if not paired:
        return welch
    return welch | {"correlation": estimates.correlation(x, y), "d_z": estimates.d_z(x, y)}


def _equivalent(x: Array, y: Array, paired: bool, margin: Array) -> dict[str, Array]:
    given = ~np.isnan(margin)
    test = verdicts.equivalence_paired if paired else verdicts.equivalence_welch
    return {"p_equivalent": np.where(given, test(x, y, np.where(given, margin, 1.0)), np.nan)}


def _both(x: Array, y: Array) -> dict[str, Array]:
    return {
        "mean": estimates.mean(x).value,
        "sd": sd(x),
        "baseline_mean": estimates.mean(y).value,
        "baseline_sd": sd(y),
    }


def _sizes(x: Array, y: Array, good: Sequence[str | None]) -> dict[str, Array]:
    lower = np.array([side == "lower" for side in good])
    sided = np.array([side is not None for side in good])
    below = estimates.improvement(x, y)
    return {
        "hedges_g": estimates.hedges_g(x, y),
        "improvement": np.where(sided, np.where(lower, below, 1 - below), np.nan),
    }


def _ratio(x: Array, y: Array, paired: bool, margin: Array) -> dict[str, Array]:
    """Compare standard deviations; a margin is a ratio."""
    found = spread_tests.paired(x, y) if paired else spread_tests.unpaired(x, y)
    equivalent = spread_tests.equivalence_paired if paired else spread_tests.equivalence_unpaired
    given = ~np.isnan(margin)
    p = np.where(given, equivalent(x, y, np.where(given, margin, 2.0)), np.nan)
    beside = {"correlation": estimates.correlation(x, y)} if paired else {}
    return _difference(found) | beside | {"p_equivalent": p}


def _costly(
    x: Array, y: Array, paired: bool, margin: Array, family: Array, rng: np.random.Generator
) -> dict[str, Array]:
    """Estimate what stands beside the t test; a margin is NaN where there is none."""
    from ablate.analyze import resampling  # with it scipy.stats

    d = differences(x, y) if paired else None
    low, high = resampling.bca(x, y, rng) if d is None else resampling.bca(d, None, rng)
    found = {"bca_low": low, "bca_high": high}
    if d is not None:
        found["p_permutation"], found["p_permutation_min"] = resampling.sign_flip(d, rng)
        found["p_wilcoxon"], found["p_wilcoxon_min"] = resampling.wilcoxon(d, rng)
    given = ~np.isnan(margin)
    if given.any():
        spread = pooled_sd(x, y) if d is None else sd(d)
        some = np.where(given, margin, 1.0)
        seeds = verdicts.seeds_for_power(spread, some, paired=paired, alpha=verdicts.ALPHA / family)
        found["seeds_for_power"] = np.where(given, seeds, np.nan)
    return found
