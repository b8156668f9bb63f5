"""How the claims of a study can come out, computed before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from ablate.analyze import power, verdicts
from ablate.analyze.intervals import Estimate
from ablate.analyze.pairs import Pair, pairs_of
from ablate.analyze.spread import pooled_sd, sd
from ablate.analyze.verdicts import ALPHA
from ablate.study.claim import EQUIVALENT, Claim

_FAR: Final = 5.0  # standard deviations; differences between arms are rarely larger
_LITTLE: Final = 0.5  # if every verdict is less probable than this, the study is not worth running


@dataclass(frozen=True)
class Terms:
    """Everything but the truth that decides how a claim may come out; equal for similar claims.

    Attributes:
        metric: Whose difference it is.
        equivalent: Whether equivalence is claimed.
        two_sided: Whether it is claimed that arms differ, either way.
        margin: δ, or None.
        n: Seeds that both arms share; else those of the arm.
        m: Those of the other arm where they share none, else None.
        alpha: What the interval may miss.
    """

    metric: str
    equivalent: bool
    two_sided: bool
    margin: float | None
    n: int
    m: int | None
    alpha: float

    @property
    def direction(self) -> str:
        """The direction to compute with: a claim's mirror image has the same chances."""
        return EQUIVALENT if self.equivalent else "differs" if self.two_sided else "higher"

    def error(self, spread: float) -> Estimate:
        """Describe the error of the estimate, given the standard deviation over seeds."""
        return power.of_seeds(spread, self.n, self.m)

    @property
    def reach(self) -> float:
        """The difference detected with 80 % power; for equivalence, the δ that can be shown.

        In standard deviations over seeds.
        """
        return float(power.detectable(self.error(1.0), self.alpha, equivalent=self.equivalent))

    @property
    def is_out_of_reach(self) -> bool:
        """Whether only an unusually large difference, or δ, could lead to a verdict."""
        return self.reach > _FAR


@dataclass(frozen=True)
class Prospect:
    """How a claim may come out, given the standard deviation over seeds.

    Attributes:
        chances: True difference -> the probability of each verdict, by its name.
        reach: As of `Terms`, in the metric's unit.
        seeds: The fewest that support the claim with 80 % power if the true difference is 2δ (for
            equivalence, 0); NaN without δ, or if no number does.
    """

    chances: dict[float, dict[str, float]]
    reach: float
    seeds: float

    @property
    def is_hopeless(self) -> bool:
        """Whether the claim most likely stays open, whichever of these differences is true."""
        return all(1 - each[verdicts.OPEN] < _LITTLE for each in self.chances.values())


def terms_of(runs: pd.DataFrame, baseline: str, claims: Sequence[Claim]) -> list[Terms | None]:
    """Find out how each claim's arms will be compared.

    Args:
        runs: The planned runs, with the columns `arm` and `replicate`.
        baseline: The baseline's name.
        claims: The study's.

    Returns:
        One per claim; None for a claim about spread, whose chances do not follow from a standard
        deviation.
    """
    metrics = list(dict.fromkeys(n for c in claims for n in (c.metric, c.against_metric) if n))
    done = runs.assign(status="finished", **dict.fromkeys(metrics, 0.0))
    found: list[Terms | None] = []
    for claim, pair in zip(claims, claimed_pairs(done, baseline, claims), strict=True):
        if claim.statistic == "spread":
            found.append(None)
            continue
        kind = (claim.direction == EQUIVALENT, claim.direction == "differs")
        sizes = (len(pair.x), None if pair.paired else len(pair.y))
        found.append(Terms(claim.metric, *kind, claim.margin, *sizes, ALPHA / len(claims)))
    return found


def claimed_pairs(runs: pd.DataFrame, baseline: str, claims: Sequence[Claim]) -> list[Pair]:
    """Collect the values that each claim compares."""
    whats = [claim.compared(baseline) for claim in claims]
    metrics = list(dict.fromkeys(n for w in whats for n in (w.metric, w.against_metric)))
    return pairs_of(runs, baseline, metrics, whats)[-len(whats) :]


def spread_of(pair: Pair) -> tuple[float, int] | None:
    """Compute the standard deviation that a comparison rests on, and from how many seeds it comes.

    Returns:
        Of the differences over shared seeds, or pooled over both arms; None below two seeds.
    """
    x, y = pair.x, pair.y
    if pair.paired:
        both = np.isfinite(x) & np.isfinite(y)
        found, count = sd(x[both] - y[both]), int(both.sum())
    else:
        x, y = x[np.isfinite(x)], y[np.isfinite(y)]
        found, count = pooled_sd(x, y), len(x) + len(y) - 1
    return (float(found), count) if found > 0 else None


def prospect(terms: Terms, spread: float) -> Prospect:
    """Compute how a claim may come out.

    Args:
        terms: How its arms are compared.
        spread: Standard deviation over seeds, in the metric's unit.
    """
    margin, error = terms.margin, terms.error(spread)
    reach = terms.reach * spread
    truths = [0.0, reach] if margin is None else [0.0, margin / 2, margin, 2 * margin]
    told = {truth: _chances(terms, error, truth) for truth in truths}
    return Prospect(told, reach, seeds_needed(terms, spread))


def seeds_needed(terms: Terms, spread: float) -> float:
    """Count the seeds that support the claim in 80 % at a truth of 2δ; NaN without δ."""
    if terms.margin is None:
        return float("nan")
    found = power.seeds_for_power(
        np.array(spread),
        terms.margin,
        paired=terms.m is None,
        alpha=terms.alpha,
        equivalent=terms.equivalent,
    )
    return float(found)


def supported(terms: Terms, spread: float, seeds: int | None = None) -> float:
    """Return the probability of *supported* if the truth is 2δ (for equivalence, 0).

    Args:
        terms: How its arms are compared; it has a margin.
        spread: Standard deviation over seeds.
        seeds: Per arm, in place of those in the terms.
    """
    margin = terms.margin
    assert margin is not None, "a claim with a margin"
    if seeds is not None:
        terms = replace(terms, n=seeds, m=None if terms.m is None else seeds)
    truth = 0.0 if terms.equivalent else 2 * margin
    return _chances(terms, terms.error(spread), truth)[verdicts.SUPPORTED]


def _chances(terms: Terms, error: Estimate, truth: float) -> dict[str, float]:
    at = replace(error, centre=np.asarray(truth))
    found = power.chances(at, terms.alpha, terms.direction, terms.margin)
    return {name: float(chance) for name, chance in found.items()}
