"""Contrasts: the difference between each arm and the baseline, by every metric.

Pairs come from replicates (seeds) that both arms were given; where an arm was given its own, it is
compared unpaired, by Welch's test. A pair of which one run failed, diverged or lacks the metric is
left out of the contrast: `n` tells how many stayed, the arms frame what became of the others.

A claim may compare otherwise: with another arm, with another metric, or the spread over seeds in
place of the mean. Each such claim has a row of its own, after the others (`to_baseline` leaves
these out).

Holm's correction holds within a *family*. With claims, the claims are one family. What nobody
claimed is compared by way of exploration: all arms against the baseline on one metric are a family,
so that many metrics do not weaken each other, and a false finding somewhere among them is likely.

Columns, all differences and intervals in the metric's unit (errors are fractions):

arm, baseline, metric, primary    the arm, what it is compared with, by which metric
against_metric, statistic    the other's metric, nearly always the same; ``mean`` or ``spread``
n, n_baseline       pairs, or finished runs of each arm where unpaired
delta, ci_low, ci_high, p    mean of the arm less that of the other, 95 % interval, two-sided p;
                    of spread the ratio of their standard deviations (`ablate.analyze.spread_tests`)
p_holm, family, family_size  corrected within the family, as it is named: of equivalence, where that
                    is claimed, `p_equivalent`, else `p`
p_differs           `p`, corrected: it may refute equivalence
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

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ablate.analyze import verdicts
from ablate.analyze.pair_estimates import BESIDE, COSTLY, DIFFERENCE, estimated
from ablate.analyze.pairs import Pair, pairs_of
from ablate.analyze.run_measures import metrics_of
from ablate.errors import AblateError, nearest
from ablate.metrics import PRIMARY, metric_of
from ablate.study.claim import EQUIVALENT, Claim, Compared

_FIRST = (
    *("arm", "baseline", "metric", "primary", "against_metric", "statistic"),
    *("n", "n_baseline"),
)
_JUDGED = (
    *("p_holm", "p_differs", "family", "family_size"),
    *("verdict", "direction", "margin", "change", "paired"),
)
COLUMNS = (*_FIRST, *DIFFERENCE, *_JUDGED, *BESIDE, *COSTLY)


def contrasts(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    primary: str = PRIMARY,
    margin: float | None = None,
    claims: Sequence[Claim] = (),
    brief: bool = False,
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
        brief: Whether to leave out what does not decide; those columns are NaN.

    Returns:
        One row an arm and metric, the primary first, with the columns that this module lists.

    Raises:
        AblateError: There is no such arm or metric, or a claim stands twice.
    """
    wanted = _metrics(runs, metrics, primary, claims)
    base = baseline_of(runs, baseline)
    claimed = _claimed(runs, claims, base)
    apart = [what for what in claimed if not what.is_to(base)]
    pairs = pairs_of(runs, base, wanted, apart)
    table = _asked(pairs, base, claimed, primary, margin)
    costly = [pair.what.metric == primary or pair.what in claimed for pair in pairs]
    margins, sizes = (table[name].to_numpy(np.float64) for name in ("margin", "family_size"))
    found = estimated(pairs, margins, sizes, np.array(costly, dtype=bool), rng, brief=brief)
    return _judged(table.assign(**found))


def compared(found: pd.DataFrame) -> list[Compared]:
    """Say of each row of contrasts what it compares with what."""
    columns = (found[name] for name in ("arm", "metric", "baseline", "against_metric", "statistic"))
    return [Compared(*row) for row in zip(*columns, strict=True)]


def to_baseline(found: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Leave out of contrasts the claims that compare otherwise than by mean with the baseline."""
    kept = [what.is_to(baseline) for what in compared(found)]
    return found[np.array(kept, dtype=bool)]


def baseline_of(runs: pd.DataFrame, name: str | None = None) -> str:
    """Choose the arm that others are compared with: as named, else the first of the frame.

    Raises:
        AblateError: No arm has this name; the nearest is named.
    """
    arms = [str(arm) for arm in runs["arm"].unique()]
    if name is None:
        return arms[0]
    alike = [arm for arm in arms if _numbered(arm) == _numbered(name)]
    if name not in arms and len(alike) != 1:
        raise AblateError(
            f"no arm is named {name} (there are {'; '.join(arms)}){nearest(name, arms)}"
        )
    return name if name in arms else alike[0]


def _numbered(arm: str) -> list[tuple[str, float | str]]:
    """Read an arm's values as numbers where they are some: 0 and 0.0 name the same arm."""
    pairs = [word.partition("=") for word in arm.split()]
    return [(name, _number(value)) for name, _, value in pairs]


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


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
        *(name for claim in claims for name in (claim.metric, claim.against_metric) if name),
        *(there if metrics is None else metrics),
    ]
    wrong = [name for name in dict.fromkeys(wanted) if there and name not in there]
    if wrong:
        raise AblateError(*(f"no run has the metric {n}{nearest(n, there)}" for n in wrong))
    return list(dict.fromkeys(wanted))


def _claimed(runs: pd.DataFrame, claims: Sequence[Claim], base: str) -> dict[Compared, Claim]:
    """Find what each claim compares.

    Raises:
        AblateError: An arm is not there or is compared with itself, or a claim stands twice.
    """
    arms = {str(arm) for arm in runs["arm"].unique()}
    claimed: dict[Compared, Claim] = {}
    faults, told = [], set[frozenset[Compared]]()
    for claim in claims:
        what = claim.compared(base)
        place = f"the claim of {claim.arm} on {claim.metric}"
        lost = [arm for arm in (what.arm, what.against) if arm not in arms]
        faults += [f"{place}: no arm is named {arm}{nearest(arm, arms)}" for arm in lost]
        if len(what.both_ways) == 1:
            faults.append(f"{place} compares it with itself")
        if what.both_ways in told:
            faults.append(f"{claim.arm} is claimed twice on {claim.metric} against {what.against}")
        told.add(what.both_ways)
        claimed[what] = claim
    if faults:
        raise AblateError(*faults)
    return claimed


def _asked(
    pairs: Sequence[Pair],
    base: str,
    claimed: Mapping[Compared, Claim],
    primary: str,
    margin: float | None,
) -> pd.DataFrame:
    """Write down what is asked of each pair, before anything is estimated."""
    whats = [pair.what for pair in pairs]
    open_margins = [margin if what.metric == primary else None for what in whats]
    claims = [
        claimed.get(what, Claim(what.arm, what.metric, margin=smallest))
        for what, smallest in zip(whats, open_margins, strict=True)
    ]
    columns = {
        "arm": [what.arm for what in whats],
        "baseline": [what.against for what in whats],
        "metric": [what.metric for what in whats],
        "primary": [what.metric == primary and what.is_to(base) for what in whats],
        "against_metric": [what.against_metric for what in whats],
        "statistic": [what.statistic for what in whats],
        "paired": [pair.paired for pair in pairs],
        "direction": [claim.direction for claim in claims],
        "margin": np.array([claim.margin for claim in claims], dtype=float),
        "family": [_family(what, claimed) for what in whats],
    }
    table = pd.DataFrame(columns).astype({"primary": bool, "paired": bool})
    size = table.groupby("family")["arm"].transform("size")
    return table.assign(family_size=size.astype("int64"))


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Correct within families, and judge."""
    equivalent = table["direction"] == EQUIVALENT
    own = table["p"].where(~equivalent, table["p_equivalent"])
    corrected = {
        name: p.groupby(table["family"]).transform(lambda p: verdicts.holm(p.to_numpy()))
        for name, p in (("p_holm", own), ("p_differs", table["p"]))
    }
    table = table.assign(**{name: p.astype("float64") for name, p in corrected.items()})
    wanted = ("statistic", "delta", "p_holm", "p_equivalent", "direction", "margin", "p_differs")
    found = [_verdict(*row) for row in zip(*(table[name] for name in wanted), strict=True)]
    told = zip(table["statistic"], table["delta"], table["metric"], strict=True)
    sides = [_change(*row) for row in told]
    words = (
        *("arm", "baseline", "metric", "against_metric", "statistic"),
        *("family", "verdict", "direction", "change"),
    )
    table = table.assign(verdict=found, change=pd.Series(sides, dtype="str"))
    return table[list(COLUMNS)].astype(dict.fromkeys(words, "str"))


def _verdict(
    statistic: str,
    delta: float,
    p_holm: float,
    p_equivalent: float,
    direction: str,
    margin: float,
    p_differs: float,
) -> str:
    smallest = None if math.isnan(margin) else margin
    if statistic == "spread":  # a half and a double are as far from no difference
        delta = math.log(delta) if delta > 0 else math.nan
        smallest = None if smallest is None else math.log(smallest)
    return verdicts.verdict(delta, p_holm, p_equivalent, direction, smallest, p_differs)


def _family(what: Compared, claimed: Mapping[Compared, Claim]) -> str:
    if what in claimed:
        return "claims"
    return f"unclaimed arms on {what.metric}" if claimed else f"all arms on {what.metric}"


def _change(statistic: str, delta: float, metric: str) -> str | None:
    none = 1 if statistic == "spread" else 0
    if np.isnan(delta) or delta == none:
        return None
    side = "lower" if delta < none else "higher"
    good = metric_of(metric).better if statistic == "mean" else None
    if good is None:
        return side
    return "better" if side == good else "worse"
