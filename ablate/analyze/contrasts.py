"""Contrasts: the difference between each arm and the baseline, by every metric.

Pairs come from replicates (seeds) that both arms were given; where an arm was given its own, it is
compared unpaired, by Welch's test. A pair of which one run failed, diverged or lacks the metric is
left out of the contrast: `n` tells how many stayed, the arms frame what became of the others.

Holm's correction holds within a *family*. With claims, the claims are one family. What nobody
claimed is compared by way of exploration: all arms against the baseline on one metric are a family,
so that many metrics do not weaken each other, and a false finding somewhere among them is likely.

Columns, all differences and intervals in the metric's unit (errors are fractions):

arm, baseline, metric, primary
n, n_baseline       pairs, or finished runs of each arm where unpaired
delta, ci_low, ci_high, p    mean of the arm less that of the baseline, 95 % interval, two-sided p
p_holm, family, family_size  corrected within the family, as it is named
verdict             supported, refuted, equivalent or inconclusive (`ablate.analyze.verdicts`)
direction, margin   as claimed; ``differs`` where nothing is: supported then says that it differs
change              better or worse, by the estimate alone; lower or higher where neither is better
paired, correlation, p_welch    of the same runs: what pairing gained
mean, sd, baseline_mean, baseline_sd    of the runs that are compared
d_z, hedges_g, improvement      effect sizes; how probably a run of the arm is the better one

and of the primary metric and of claims alone, since they are costly:

p_equivalent        two one-sided tests within ±margin, uncorrected; only with a margin
seeds_for_power     seeds that show the margin with 80 % power at 0.05 / family_size
bca_low, bca_high   bootstrap interval, for n of at least 20
p_permutation, p_permutation_min, p_wilcoxon, p_wilcoxon_min    with the smallest p they can attain;
                    of pairs alone
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablate.analyze import estimates, resampling, verdicts
from ablate.analyze.measures import better, metrics_of
from ablate.analyze.pairs import Pair, pairs_of
from ablate.analyze.spread import Array, differences, pooled_sd, sd
from ablate.analyze.verdicts import Claim
from ablate.errors import AblateError, nearest

_FIRST = ("arm", "baseline", "metric", "primary", "n", "n_baseline")
_DIFFERENCE = ("delta", "ci_low", "ci_high", "p")
_JUDGED = ("p_holm", "family", "family_size", "verdict", "direction", "margin", "change", "paired")
_BESIDE = (
    *("correlation", "p_welch", "mean", "sd", "baseline_mean", "baseline_sd"),
    *("d_z", "hedges_g", "improvement"),
)
_COSTLY = (
    *("p_equivalent", "seeds_for_power", "bca_low", "bca_high"),
    *("p_permutation", "p_permutation_min", "p_wilcoxon", "p_wilcoxon_min"),
)
COLUMNS = (*_FIRST, *_DIFFERENCE, *_JUDGED, *_BESIDE, *_COSTLY)


def contrasts(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    primary: str = "test/error",
    margin: float | None = None,
    claims: Sequence[Claim] = (),
) -> pd.DataFrame:
    """Compare every arm with the baseline.

    Args:
        runs: The runs frame, one row a run.
        rng: Source of the resamples.
        baseline: An arm; without one, the first of the frame (`frames` puts the arm at rest there).
        metrics: Which to compare; all that some run has, by default. The primary one is added.
        primary: The metric that the comparison is about.
        margin: The smallest difference in it that matters, δ, where nothing is claimed.
        claims: What is claimed of arms; they are one family.

    Returns:
        One row an arm and metric, the primary first, with the columns that this module lists.

    Raises:
        AblateError: There is no such arm or metric, or a claim stands twice.
    """
    wanted = _metrics(runs, metrics, primary, claims)
    base = baseline_of(runs, baseline)
    claimed = _claimed(runs, claims, base, wanted)
    pairs = pairs_of(runs, base, wanted)
    table = _asked(pairs, base, claimed, primary, margin)
    costly = [p.metric == primary or (p.arm, p.metric) in claimed for p in pairs]
    table = table.assign(**_estimates(pairs, table, np.array(costly, dtype=bool), rng))
    return _judged(table)


def baseline_of(runs: pd.DataFrame, name: str | None = None) -> str:
    """Choose the arm that others are compared with: as named, else the first of the frame.

    Raises:
        AblateError: No arm has this name; the nearest is named.
    """
    arms = [str(arm) for arm in runs["arm"].unique()]
    if name is not None and name not in arms:
        raise AblateError(
            f"no arm is named {name}{nearest(name, arms)}; there are {'; '.join(arms)}"
        )
    return arms[0] if name is None else name


# -- what is compared ------------------------------------------------------------------------------


def _metrics(
    runs: pd.DataFrame, metrics: Sequence[str] | None, primary: str, claims: Sequence[Claim]
) -> list[str]:
    """List the metrics, the primary first; where no run has ended there is nothing to choose from.

    Raises:
        AblateError: One is not there.
    """
    there = metrics_of(runs)
    wanted = [
        primary,
        *(claim.metric for claim in claims),
        *(there if metrics is None else metrics),
    ]
    wrong = [name for name in dict.fromkeys(wanted) if there and name not in there]
    if wrong:
        raise AblateError(*(f"no run has the metric {n}{nearest(n, there)}" for n in wrong))
    return list(dict.fromkeys(wanted))


def _claimed(
    runs: pd.DataFrame, claims: Sequence[Claim], base: str, metrics: Sequence[str]
) -> dict[tuple[str, str], Claim]:
    arms = {str(arm) for arm in runs["arm"].unique()} - {base}
    faults = [
        f"the claim of {c.arm}: no arm beside the baseline has this name{nearest(c.arm, arms)}"
        for c in claims
        if c.arm not in arms
    ]
    counts = Counter((claim.arm, claim.metric) for claim in claims)
    faults += [f"{arm} is claimed twice on {m}" for (arm, m), count in counts.items() if count > 1]
    if faults:
        raise AblateError(*faults)
    return {(claim.arm, claim.metric): claim for claim in claims}


def _asked(
    pairs: Sequence[Pair],
    base: str,
    claimed: Mapping[tuple[str, str], Claim],
    primary: str,
    margin: float | None,
) -> pd.DataFrame:
    """Write down what is asked of each pair, before anything is estimated."""
    open_margins = [margin if pair.metric == primary else None for pair in pairs]
    claims = [
        claimed.get((pair.arm, pair.metric), Claim(pair.arm, pair.metric, margin=smallest))
        for pair, smallest in zip(pairs, open_margins, strict=True)
    ]
    columns = {
        "arm": [pair.arm for pair in pairs],
        "metric": [pair.metric for pair in pairs],
        "primary": [pair.metric == primary for pair in pairs],
        "paired": [pair.paired for pair in pairs],
        "direction": [claim.direction for claim in claims],
        "margin": np.array([claim.margin for claim in claims], dtype=float),
        "family": [_family(pair, claimed) for pair in pairs],
    }
    table = pd.DataFrame(columns).astype({"primary": bool, "paired": bool}).assign(baseline=base)
    size = table.groupby("family")["arm"].transform("size")
    return table.assign(family_size=size.astype("int64"))


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Correct within families, and judge."""
    corrected = table.groupby("family")["p"].transform(lambda p: verdicts.holm(p.to_numpy()))
    table = table.assign(p_holm=corrected.astype("float64"))
    wanted = ("delta", "p_holm", "p_equivalent", "direction", "margin")
    rows = zip(*(table[name] for name in wanted), strict=True)
    found = [
        verdicts.verdict(d, p, e, side, None if np.isnan(m) else m) for d, p, e, side, m in rows
    ]
    sides = [_change(d, m) for d, m in zip(table["delta"], table["metric"], strict=True)]
    words = ("arm", "baseline", "metric", "family", "verdict", "direction", "change")
    table = table.assign(verdict=found, change=pd.Series(sides, dtype="str"))
    return table[list(COLUMNS)].astype(dict.fromkeys(words, "str"))


def _family(pair: Pair, claimed: Mapping[tuple[str, str], Claim]) -> str:
    if (pair.arm, pair.metric) in claimed:
        return "claims"
    return f"unclaimed arms on {pair.metric}" if claimed else f"all arms on {pair.metric}"


def _change(delta: float, metric: str) -> str | None:
    if np.isnan(delta) or delta == 0:
        return None
    side = "lower" if delta < 0 else "higher"
    good = better(metric)
    if good is None:
        return side
    return "better" if side == good else "worse"


# -- all estimates at once -------------------------------------------------------------------------


def _estimates(
    pairs: Sequence[Pair],
    table: pd.DataFrame,
    costly: np.ndarray[tuple[int], np.dtype[np.bool_]],
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Estimate in groups of equal n, so that a thousand arms take no longer than a few calls."""
    names = ("n", "n_baseline", *_DIFFERENCE, *_BESIDE, *_COSTLY)
    columns = {name: np.full(len(pairs), np.nan) for name in names}
    groups: dict[tuple[bool, int, int, bool], list[int]] = {}
    for i, pair in enumerate(pairs):
        groups.setdefault((pair.paired, len(pair.x), len(pair.y), bool(costly[i])), []).append(i)
    for (paired, few, many, dear), rows in groups.items():
        x, y = np.array([pairs[i].x for i in rows]), np.array([pairs[i].y for i in rows])
        found = {"n": np.full(len(rows), few), "n_baseline": np.full(len(rows), many)}
        found |= _paired(x, y) if paired else _unpaired(x, y)
        found |= _both(x, y, [better(pairs[i].metric) for i in rows])
        if dear:
            margin, family = (
                table[n].to_numpy(np.float64)[rows] for n in ("margin", "family_size")
            )
            found |= _costly(x, y, paired, margin, family, rng)
        for name, numbers in found.items():
            columns[name][rows] = numbers
    whole = ("n", "n_baseline")
    return {n: c.astype(np.int64) if n in whole else c for n, c in columns.items()}


def _difference(found: estimates.Difference) -> dict[str, Array]:
    return {"delta": found.value, "ci_low": found.low, "ci_high": found.high, "p": found.p}


def _paired(x: Array, y: Array) -> dict[str, Array]:
    return _difference(estimates.paired(x, y)) | {
        "p_welch": estimates.welch(x, y).p,
        "correlation": estimates.correlation(x, y),
        "d_z": estimates.d_z(x, y),
    }


def _unpaired(x: Array, y: Array) -> dict[str, Array]:
    found = estimates.welch(x, y)
    return _difference(found) | {"p_welch": found.p}


def _both(x: Array, y: Array, good: Sequence[str | None]) -> dict[str, Array]:
    lower = np.array([side == "lower" for side in good])
    sided = np.array([side is not None for side in good])
    below = estimates.improvement(x, y)
    return {
        "mean": estimates.mean(x).value,
        "sd": sd(x),
        "baseline_mean": estimates.mean(y).value,
        "baseline_sd": sd(y),
        "hedges_g": estimates.hedges_g(x, y),
        "improvement": np.where(sided, np.where(lower, below, 1 - below), np.nan),
    }


def _costly(
    x: Array, y: Array, paired: bool, margin: Array, family: Array, rng: np.random.Generator
) -> dict[str, Array]:
    """Estimate what stands beside the t test; a margin is NaN where there is none."""
    d = differences(x, y) if paired else None
    low, high = resampling.bca(x, y, rng) if d is None else resampling.bca(d, None, rng)
    found = {"bca_low": low, "bca_high": high}
    if d is not None:
        found["p_permutation"], found["p_permutation_min"] = resampling.sign_flip(d, rng)
        found["p_wilcoxon"], found["p_wilcoxon_min"] = resampling.wilcoxon(d, rng)
    given = ~np.isnan(margin)
    if given.any():
        spread = pooled_sd(x, y) if d is None else sd(d)
        equivalent = verdicts.equivalence_paired if paired else verdicts.equivalence_welch
        some = np.where(given, margin, 1.0)
        seeds = verdicts.seeds_for_power(spread, some, paired=paired, alpha=verdicts.ALPHA / family)
        found["p_equivalent"] = np.where(given, equivalent(x, y, some), np.nan)
        found["seeds_for_power"] = np.where(given, seeds, np.nan)
    return found
