"""Estimates all pairs at once, so that a thousand arms take only a few calls.

`contrasts`, which makes them a table, says what each column holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablate.analyze import estimates, intervals, ranks, resampled, spread_tests
from ablate.analyze.intervals import Component, Estimate
from ablate.analyze.pairs import Pair
from ablate.analyze.power import seeds_for_power
from ablate.analyze.spread import Array, differences, pooled_sd, rounding, sd
from ablate.analyze.verdicts import ALPHA
from ablate.metrics import metric_of

DIFFERENCE = ("delta", "low", "high", "p", "se", "se_seeds", "se_images", "p_networks")
BESIDE = (
    *("ci_low", "ci_high", "confidence_lower", "confidence_within", "confidence_higher"),
    *("correlation", "p_unpaired", "mean", "sd", "baseline_mean", "baseline_sd"),
    *("d_z", "hedges_g", "improvement"),
)
COSTLY = (
    *("seeds_for_power", "bca_low", "bca_high"),
    *("p_permutation", "p_permutation_min", "p_wilcoxon", "p_wilcoxon_min"),
)
COUNTS = ("n", "n_baseline", "n_untrained", "n_baseline_untrained")


def estimated(
    pairs: Sequence[Pair],
    margin: Array,
    alpha: Array,
    costly: np.ndarray[tuple[int], np.dtype[np.bool_]],
    rng: np.random.Generator,
    *,
    equivalent: np.ndarray[tuple[int], np.dtype[np.bool_]],
    brief: bool = False,
) -> dict[str, Array]:
    """Estimate pairs in groups of equal n.

    Args:
        pairs: m pairs.
        margin: δ of each [m], NaN for none.
        alpha: How often each interval may miss [m], corrected for its family.
        costly: Which pairs get the costly columns too [m].
        rng: Source of the resamples.
        equivalent: For which pairs equivalence is claimed [m].
        brief: Whether to compute only what decides.

    Returns:
        Columns [m] by name: `COUNTS`, and those listed above, NaN where nothing can be estimated or
        nothing is wanted. A pair with runs that did not train has counts, the means of those that
        did, and the p-value of an exact test of order. A pair whose values are not independent has
        counts, means and their difference.
    """
    columns = {n: np.full(len(pairs), np.nan) for n in (*DIFFERENCE, *BESIDE, *COSTLY)}
    columns |= _counted(pairs)
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, pair in enumerate(pairs):
        if not pair.all_trained:
            _fill(columns, [i], _by_sign(pair))
        elif not pair.independent:
            _fill(columns, [i], _untested(pair))
        else:
            groups.setdefault((bool(costly[i]), *_kind(pair, i)), []).append(i)
    for (dear, *_), rows in groups.items():
        group = _Group(
            [pairs[i] for i in rows],
            margin[rows],
            alpha[rows],
            equivalent[rows],
            beside=not brief,
            costly=bool(dear) and not brief,
        )
        _fill(columns, rows, _estimates_of(group, rng))
    return columns


def _kind(pair: Pair, place: int) -> tuple[object, ...]:
    """Return what pairs must have in common to be estimated together."""
    # Errors in a group have the same components. A pair whose splits vary is estimated alone.
    over = place if pair.splits is not None else pair.over_images is not None
    sizes = (len(pair.x), len(pair.y))
    return pair.what.statistic, pair.paired, *sizes, over, pair.splits is None


@dataclass(frozen=True)
class _Group:
    """Pairs of one kind, and what is asked of each; arrays are [m]."""

    pairs: Sequence[Pair]
    margin: Array
    alpha: Array
    equivalent: np.ndarray[tuple[int], np.dtype[np.bool_]]
    beside: bool
    costly: bool


def _estimates_of(group: _Group, rng: np.random.Generator) -> dict[str, Array]:
    """Estimate the pairs of a group: columns [m] by name."""
    first, pairs = group.pairs[0], group.pairs
    x, y = np.array([pair.x for pair in pairs]), np.array([pair.y for pair in pairs])
    found = _both(x, y)
    if first.what.statistic == "spread":
        return found | _ratio(x, y, first.paired, group.alpha)
    estimate = _estimate(pairs, x, y, paired=first.paired)
    found |= _difference(estimate, group.alpha) | _parts(pairs, estimate)
    if group.beside:
        found |= _alone(estimate, group.margin) | _beside(pairs, x, y)
        found |= _sizes(x, y, [metric_of(pair.what.metric).better for pair in pairs])
    # These assume independent seeds, but overlapping splits make seeds depend on each other.
    if group.costly and first.splits is None:
        found |= _costly(x, y, first.paired, rng)
        asked = (group.margin, group.alpha, group.equivalent)
        found |= _seeds_needed(x, y, first.paired, *asked)
    return found


def _fill(columns: Mapping[str, Array], rows: Sequence[int], found: Mapping[str, Array]) -> None:
    for name, numbers in found.items():
        columns[name][rows] = numbers


def _counted(pairs: Sequence[Pair]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    sides = [(pair.x, pair.y) for pair in pairs]
    counts = [(len(x), len(y), np.isinf(x).sum(), np.isinf(y).sum()) for x, y in sides]
    found = np.array(counts, dtype=np.int64).reshape(-1, len(COUNTS))
    return dict(zip(COUNTS, found.T, strict=True))


def _by_sign(pair: Pair) -> dict[str, Array]:
    """Compare arms with runs that did not train: ranks are known, distances are not."""
    known = [side[np.isfinite(side)][None] for side in (pair.x, pair.y)]
    asked = metric_of(pair.what.metric).better is not None and pair.what.statistic == "mean"
    test = ranks.sign_test if pair.paired else ranks.rank_sum
    p = test(pair.x, pair.y) if asked else np.nan
    return _both(*known) | {"p": np.array([p])}


def _estimate(group: Sequence[Pair], x: Array, y: Array, *, paired: bool) -> Estimate:
    """Estimate the differences of pairs of the same population."""
    if (splits := group[0].splits) is not None:
        return (resampled.paired if paired else resampled.unpaired)(x[0], y[0], splits)
    estimate = (intervals.paired if paired else intervals.unpaired)(x, y)
    over = [pair.over_images for pair in group if pair.over_images is not None]
    if not over:
        return estimate
    added = np.array([one.added(paired=paired) for one in over])
    freedom = np.array([one.images - 1 for one in over], dtype=np.float64)
    return intervals.with_component(estimate, Component(added, freedom))


def _parts(group: Sequence[Pair], estimate: Estimate) -> dict[str, Array]:
    """Return the parts of the errors; with one network per arm, also whether the two differ."""
    over = [pair.over_images for pair in group if pair.over_images is not None]
    seeds = estimate.components[:-1] if over else estimate.components
    found = {"se": estimate.error, "se_seeds": np.sqrt(sum(part.variance for part in seeds))}
    if over:
        found["se_images"] = np.sqrt(np.array([one.variance for one in over]))
        found["p_networks"] = np.array([one.p for one in over])
    return found


def _untested(pair: Pair) -> dict[str, Array]:
    """Compare values whose error cannot be estimated."""
    found = _both(pair.x[None], pair.y[None])
    if pair.what.statistic == "mean":
        return found | {"delta": found["mean"] - found["baseline_mean"]}
    below = np.where(found["baseline_sd"] > 0, found["baseline_sd"], np.nan)
    return found | {"delta": found["sd"] / below}


def _difference(estimate: Estimate, alpha: Array) -> dict[str, Array]:
    low, high = estimate.interval(alpha)
    return {"delta": estimate.centre, "low": low, "high": high, "p": estimate.p()}


def _alone(estimate: Estimate, margin: Array) -> dict[str, Array]:
    """Return the uncorrected interval, and the shares of the t distribution beyond ±δ."""
    low, high = estimate.interval(ALPHA)
    smallest = np.where(np.isnan(margin), 0.0, margin)
    beyond = {side: _share_above(estimate, side * smallest) for side in (-1, 1)}
    return {
        "ci_low": low,
        "ci_high": high,
        "confidence_lower": 1 - beyond[-1],
        "confidence_within": beyond[-1] - beyond[1],
        "confidence_higher": beyond[1],
    }


def _share_above(estimate: Estimate, value: Array) -> Array:
    half = estimate.p(value) / 2
    return np.where(estimate.centre > value, 1 - half, half)


def _beside(group: Sequence[Pair], x: Array, y: Array) -> dict[str, Array]:
    alone = {"p_unpaired": _estimate(group, x, y, paired=False).p()}
    if not group[0].paired:
        return alone
    return alone | {"correlation": estimates.correlation(x, y), "d_z": estimates.d_z(x, y)}


def _both(x: Array, y: Array) -> dict[str, Array]:
    return {
        "mean": intervals.mean(x).centre,
        "sd": sd(x),
        "baseline_mean": intervals.mean(y).centre,
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


def _ratio(x: Array, y: Array, paired: bool, alpha: Array) -> dict[str, Array]:
    """Compare standard deviations."""
    test = spread_tests.paired if paired else spread_tests.unpaired
    found, alone = test(x, y, alpha), test(x, y, ALPHA)
    beside = {"correlation": estimates.correlation(x, y)} if paired else {}
    return {
        "delta": found.value,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "ci_low": alone.low,
        "ci_high": alone.high,
    } | beside


def _costly(x: Array, y: Array, paired: bool, rng: np.random.Generator) -> dict[str, Array]:
    """Estimate what is shown beside the t test."""
    from ablate.analyze import resampling  # with it scipy.stats

    d = differences(x, y) if paired else None
    low, high = resampling.bca(x, y, rng) if d is None else resampling.bca(d, None, rng)
    found = {"bca_low": low, "bca_high": high}
    if d is not None:
        found["p_permutation"], found["p_permutation_min"] = resampling.sign_flip(
            d, rng, rounding(x, y)
        )
        found["p_wilcoxon"], found["p_wilcoxon_min"] = resampling.wilcoxon(d, rng)
    return found


def _seeds_needed(
    x: Array,
    y: Array,
    paired: bool,
    margin: Array,
    alpha: Array,
    equivalent: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> dict[str, Array]:
    """Compute the seeds for 80 % power; a margin of NaN means none."""
    given = ~np.isnan(margin)
    if not given.any():
        return {}
    spread = sd(differences(x, y)) if paired else pooled_sd(x, y)
    some = np.where(given, margin, 1.0)
    seeds = seeds_for_power(spread, some, paired=paired, alpha=alpha, equivalent=equivalent)
    return {"seeds_for_power": np.where(given, seeds, np.nan)}
