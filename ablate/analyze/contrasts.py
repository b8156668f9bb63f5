"""Contrasts: the difference between each arm and the baseline, by every metric.

Runs are paired by replicate (seed) where both arms have the same ones; arms with seeds of their own
are compared unpaired. A pair is left out if one of its runs failed, is unfinished or lacks the
metric: `n` counts the pairs that remain, and the arms frame says what became of the others. A run
that diverged or stayed at chance is an outcome (`ablate.analyze.outcomes`): a contrast with such
runs has no interval, and its verdict comes from an exact test of order.

A claim may make another comparison: with another arm, with another metric, or of the spread over
seeds in place of the mean. Each such claim has a row of its own after the others (`to_baseline`
leaves these out).

Each contrast has one interval that decides, `low` to `high`, at a level that makes all intervals of
its *family* hold together: 1 - 0.05/m, m in a family. The claims of a study are one family,
including those that cannot be judged. Differences that nobody claimed are described. For each
metric, the arms without a claim form a family; for the primary metric, so do the effects of
factors.

Columns, all differences and intervals in the metric's unit (errors are fractions):

arm, baseline, metric, primary    the arm, what it is compared with, by which metric
against_metric, statistic    the other's metric, nearly always the same; ``mean`` or ``spread``
n, n_baseline       pairs, or runs of each arm where unpaired
n_untrained, n_baseline_untrained    how many of these did not train
delta, low, high    mean of the arm minus that of the other, and the interval that decides; for
                    spread the ratio of their standard deviations (`ablate.analyze.spread_tests`)
alpha, look         how often the interval may miss: it is at 1 - alpha; for a claim before the
                    planned end of its study, or after other looks, at the level of this look
                    (``interim``, ``final``, ``extended``: `ablate.analyze.looks`)
p, p_adjusted       two-sided p; the same times the family's size, at most 1
population          what low, high and p generalize to: ``seeds``, new ones on this test set, or
                    ``seeds and images``, new test images too (`ablate.analyze.crossed`): for test
                    error and accuracy, if all runs answered the same images and recorded which
                    they got right. If the split varies, it is ``seeds``, corrected for the overlap
                    of splits (`ablate.analyze.resampled`)
se, se_seeds, se_images    standard error of delta, and its parts: for new seeds on these images,
                    and for new images under these networks; both contain the interaction, so
                    their squares add up to more than that of `se`
p_networks          with one seed per arm: whether these two networks err equally often on such
                    images (exact McNemar); it says nothing about other seeds
family, family_size    its name, m
verdict             on a claim (`ablate.analyze.verdicts.VERDICTS`); missing where there is none
description         of every difference, by sign and size (`ablate.analyze.verdicts.DESCRIPTIONS`)
doubt               why its interval may miss more often than it says (`ablate.analyze.shape`), for
                    the primary metric and for claims; otherwise empty
direction, margin   as claimed; ``differs`` where nothing is
identical           whether both arms' losses agree to the last bit in every seed: a difference of 0
change              better or worse, by the estimate alone; lower or higher if neither is better
paired, correlation, p_unpaired    for the same runs: what pairing gained
ci_low, ci_high     the 95 % interval of this contrast by itself, uncorrected
confidence_lower, confidence_within, confidence_higher    shares of the t distribution below -δ,
                    within ±δ, above δ (0 without δ); not probabilities that the truth lies there
mean, sd, baseline_mean, baseline_sd    of the runs that trained
d_z, hedges_g, improvement      effect sizes; how probably a run of the arm is the better one

and, only for the primary metric and for claims, since they are costly:

seeds_for_power     seeds that support a claim with 80 % power if the truth is 2δ, or a claim of
                    equivalence if it is 0
bca_low, bca_high   bootstrap interval, for n of at least 20
p_permutation, p_permutation_min, p_wilcoxon, p_wilcoxon_min    with the smallest p they can attain;
                    only for pairs
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ablate.analyze import ranks, shape, verdicts
from ablate.analyze.looks import ClaimLook
from ablate.analyze.pair_estimates import BESIDE, COSTLY, COUNTS, DIFFERENCE, estimated
from ablate.analyze.pairs import Pair, pairs_of
from ablate.analyze.run_measures import metrics_of
from ablate.errors import AblateError, nearest
from ablate.metrics import PRIMARY, metric_of
from ablate.study.claim import EQUIVALENT, Claim, Compared

Look = Callable[[Compared, float], ClaimLook]
CLAIMS: Final = "claims"  # the family
_SAID: Final = ("verdict", "description", "doubt")
_FIRST = (
    *("arm", "baseline", "metric", "primary", "against_metric", "statistic"),
    *COUNTS,
)
_JUDGED = (
    *("alpha", "look", "p_adjusted", "family", "family_size"),
    *(*_SAID, "direction", "margin", "identical", "change", "paired", "population"),
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
    unjudged: int = 0,
    effects: int = 0,
    identical: Sequence[Collection[str]] = (),
    look: Look | None = None,
    brief: bool = False,
) -> pd.DataFrame:
    """Compare every arm with the baseline.

    Args:
        runs: The runs frame, one row a run.
        rng: Source of the resamples.
        baseline: An arm; by default the first in the frame, where `frames` puts the arm at rest.
        metrics: Which to compare; by default all that any run has. The primary one is added.
        primary: The metric that the comparison is about.
        margin: The smallest difference in it that matters, δ, for arms without a claim.
        claims: The claims; they are one family.
        unjudged: How many more claims belong to the family but cannot be judged.
        effects: How many effects of factors on the primary metric are described along with the
            arms.
        identical: Groups of arms whose losses agree to the last bit.
        look: Returns the look at which a claim is judged, given what it compares and its α; by
            default there is only one look.
        brief: Whether to leave out what decides nothing; those columns are NaN.

    Returns:
        One row per arm and metric, the primary metric first, with the columns listed above.

    Raises:
        AblateError: There is no such arm or metric, or a claim is made twice.
    """
    wanted = _metrics(runs, metrics, primary, claims)
    base = baseline_of(runs, baseline)
    claimed = _claimed(runs, claims, base)
    apart = [what for what in claimed if not what.is_to(base)]
    pairs = pairs_of(runs, base, wanted, apart)
    more = {CLAIMS: unjudged, descriptions_of(primary): effects}
    table = _asked(pairs, base, claimed, primary, margin, identical, more, look)
    costly = [pair.what.metric == primary or pair.what in claimed for pair in pairs]
    margins, alphas = (table[name].to_numpy(np.float64) for name in ("margin", "alpha"))
    same = (table["direction"] == EQUIVALENT).to_numpy(dtype=bool)
    chosen = np.array(costly, dtype=bool)
    found = estimated(pairs, margins, alphas, chosen, rng, equivalent=same, brief=brief)
    return _judged(table.assign(**found), pairs)


def compared(found: pd.DataFrame) -> list[Compared]:
    """Return what each row of contrasts compares with what."""
    columns = (found[name] for name in ("arm", "metric", "baseline", "against_metric", "statistic"))
    return [Compared(*row) for row in zip(*columns, strict=True)]


def descriptions_of(metric: str) -> str:
    """Name the family of a metric's differences that nobody claimed."""
    return f"descriptions of {metric}"


def to_baseline(found: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Leave out claims that make another comparison than of means with the baseline."""
    kept = [what.is_to(baseline) for what in compared(found)]
    return found[np.array(kept, dtype=bool)]


def baseline_of(runs: pd.DataFrame, name: str | None = None) -> str:
    """Choose the arm that others are compared with: the named one, else the first in the frame.

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
    """Read the values in an arm's name as numbers where possible: 0 and 0.0 name the same arm."""
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
    """List the metrics, the primary first. If no run has ended, there are none to choose from.

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
        AblateError: An arm is missing or compared with itself, or a claim is made twice.
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
    identical: Sequence[Collection[str]],
    more: Mapping[str, int],
    look: Look | None,
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
        "population": [pair.population for pair in pairs],
        "direction": [claim.direction for claim in claims],
        "margin": np.array([claim.margin for claim in claims], dtype=float),
        "identical": [_are_identical(pair, identical) for pair in pairs],
        "family": [CLAIMS if what in claimed else descriptions_of(what.metric) for what in whats],
    }
    kinds = dict.fromkeys(("primary", "paired", "identical"), bool)
    table = pd.DataFrame(columns).astype(kinds)
    size = table.groupby("family")["arm"].transform("size").astype("int64")
    size += table["family"].map(more).fillna(0).astype("int64")
    alpha = verdicts.ALPHA / size.astype("float64")
    looks = [
        ClaimLook(share) if look is None or what not in claimed else look(what, share)
        for what, share in zip(whats, alpha, strict=True)
    ]
    levels = np.array([one.level for one in looks], dtype=float)
    return table.assign(family_size=size, alpha=levels, look=[one.word for one in looks])


def _are_identical(pair: Pair, groups: Sequence[Collection[str]]) -> bool:
    """Tell whether a pair compares the same metric of two arms that agree to the last bit."""
    what = pair.what
    alike = what.metric == what.against_metric and what.statistic == "mean"
    several = pair.paired and len(pair.x) > 1 and pair.all_trained
    together = any(what.arm in group and what.against in group for group in groups)
    return alike and several and together and bool((pair.x == pair.y).all())


def _judged(table: pd.DataFrame, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Judge each claim by its interval, and describe the rest by theirs."""
    ends = {name: table[name].mask(table["identical"], 0.0) for name in ("low", "high")}
    adjusted = (table["p"] * table["family_size"]).clip(upper=1)
    table = table.assign(**ends, p_adjusted=adjusted)
    rows = zip(table.to_dict("records"), pairs, strict=True)
    said = pd.DataFrame([_said(row, pair) for row, pair in rows], columns=list(_SAID))
    told = zip(table["statistic"], table["delta"], table["metric"], strict=True)
    sides = [_change(*row) for row in told]
    words = (
        *("arm", "baseline", "metric", "against_metric", "statistic"),
        *("family", *_SAID, "direction", "change", "population"),
    )
    table = table.assign(change=pd.Series(sides, dtype="str"), **said)
    return table[list(COLUMNS)].astype(dict.fromkeys(words, "str"))


def _said(row: Mapping[Any, Any], pair: Pair) -> tuple[str | None, str, str]:
    """Return a contrast's verdict (None without a claim), description and doubt."""
    low, high, margin = row["low"], row["high"], row["margin"]
    smallest = None if math.isnan(margin) else margin
    if not pair.all_trained:
        low, high = _by_order(pair) if row["p"] < row["alpha"] else (math.nan, math.nan)
    elif row["statistic"] == "spread":  # one half and two are equally far from no difference
        low, high = (math.log(end) if end > 0 else math.nan for end in (low, high))
        smallest = None if smallest is None else math.log(smallest)
    is_claimed = row["family"] == CLAIMS
    verdict = verdicts.verdict(low, high, row["direction"], smallest) if is_claimed else None
    asked = is_claimed or row["primary"]
    has_mean = row["statistic"] == "mean" and pair.all_trained and not math.isnan(row["low"])
    doubt = str(shape.doubt(pair.x, pair.y, paired=pair.paired)) if asked and has_mean else ""
    return verdict, verdicts.description(low, high, smallest), doubt


def _by_order(pair: Pair) -> tuple[float, float]:
    """Return the interval of all differences on the arm's side of zero."""
    least, side = math.ulp(0.0), ranks.side(pair.x, pair.y, paired=pair.paired)
    return (least, math.inf) if side > 0 else (-math.inf, -least)


def _change(statistic: str, delta: float, metric: str) -> str | None:
    none = 1 if statistic == "spread" else 0
    if np.isnan(delta) or delta == none:
        return None
    side = "lower" if delta < none else "higher"
    good = metric_of(metric).better if statistic == "mean" else None
    if good is None:
        return side
    return "better" if side == good else "worse"
