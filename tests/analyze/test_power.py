"""What a study can find, against scipy, statsmodels, simulated studies and slow integrals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablate.analyze import power, prospects, verdicts
from ablate.analyze.pairs import Pair
from ablate.study.claim import Claim, Compared
from tests import reference


def chances(delta, spread, n, m, alpha, direction, margin):
    truth = replace(power.of_seeds(spread, n, m), centre=np.asarray(float(delta)))
    found = power.chances(truth, alpha, direction, margin)
    return {name: float(chance) for name, chance in found.items()}


# -- how probable each verdict is ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "n", "alpha", "direction", "margin"),
    [
        (0.4, 5, 0.05, "higher", 0.8),
        (-0.8, 12, 0.05 / 3, "lower", 0.4),
        (0.3, 30, 0.05, "lower", 0.5),
        (0.5, 8, 0.05, "differs", 0.9),
        (0.5, 9, 0.05, "higher", None),
        (0.2, 20, 0.05, "equivalent", 0.8),
        (1.5, 6, 0.01, "equivalent", 0.2),
    ],
)
def test_chances_agree_with_shares_of_simulated_studies(delta, n, alpha, direction, margin):
    found = chances(delta, 1.0, n, None, alpha, direction, margin)
    assert sum(found.values()) == pytest.approx(1)
    shares = reference.verdict_shares(delta, 1.0, n, alpha, direction, margin, 2000)
    for name in verdicts.VERDICTS:
        assert found[name] == pytest.approx(shares.get(name, 0), abs=0.04), name


@given(st.integers(2, 60), st.floats(0, 4), st.floats(0.001, 0.2))
def test_the_chance_of_support_is_a_tail_of_the_noncentral_t(n, beyond, alpha):
    found = chances(0.5 + beyond, 2.0, n, None, alpha, "higher", 0.5)["supported"]
    quantile = stats.t.ppf(1 - alpha / 2, n - 1)
    expected = stats.nct.sf(quantile, n - 1, beyond / 2 * math.sqrt(n))
    # Two seeds have one degree of freedom, whose long tail is integrated less exactly.
    assert found == pytest.approx(expected, abs=5e-4 if n == 2 else 1e-4)


@given(st.integers(2, 60), st.floats(0, 4), st.floats(0.001, 0.2))
def test_without_shared_seeds_the_quantile_has_one_arms_freedom(n, beyond, alpha):
    found = chances(0.5 + beyond, 2.0, n, n, alpha, "higher", 0.5)["supported"]
    quantile = stats.t.ppf(1 - alpha / 2, n - 1)
    expected = stats.nct.sf(quantile, 2 * n - 2, beyond / 2 * math.sqrt(n / 2))
    assert found == pytest.approx(expected, abs=1e-4)


def test_arms_of_nearly_equal_n_have_nearly_equal_chances():
    """Equal n is integrated in one dimension, unequal n in two."""
    same, other = (chances(0.7, 1.0, 1000, m, 0.05, "higher", 0.6) for m in (1000, 1001))
    assert same == pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize("n", [3, 10, 225])
def test_equivalence_is_as_probable_as_a_slow_integral_says(n):
    margin = 8 / math.sqrt(n)
    found = chances(0.0, 1.0, n, n, 0.05, "equivalent", margin)["supported"]
    assert found == pytest.approx(reference.equivalence_power(1.0, n, n, 0.05, margin), abs=1e-3)


# -- how many seeds --------------------------------------------------------------------------------


@given(st.floats(0.15, 3), st.floats(0.001, 0.2))
def test_that_many_seeds_reach_the_power_and_one_less_does_not(effect, alpha):
    seeds = float(power.seeds_for_power(np.array([1 / effect]), 1.0, alpha=alpha)[0])
    # One tail only: the far one adds less than a millionth, and scipy sometimes returns NaN for it.
    test = TTestPower()
    enough, few = (
        test.power(effect, n, alpha / 2, alternative="larger") for n in (seeds, seeds - 1)
    )
    assert enough >= 0.8 - 1e-5
    assert seeds == 2 or few < 0.8 + 1e-5


def test_equivalence_needs_as_many_seeds_as_a_slow_integral_says():
    found = power.seeds_for_power(np.array([1.0, 2.0]), 1.0, paired=False, equivalent=True)
    for spread, seeds in zip((1.0, 2.0), found, strict=True):
        n = int(seeds)
        assert reference.equivalence_power(spread, n, n, 0.05, 1.0) >= 0.8
        assert reference.equivalence_power(spread, n - 1, n - 1, 0.05, 1.0) < 0.8


def test_seeds_for_both_kinds_of_claims_are_computed_together():
    spread, kinds = np.array([1.5, 1.5]), np.array([False, True])
    both = power.seeds_for_power(spread, 1.0, equivalent=kinds)
    alone = [power.seeds_for_power(spread[:1], 1.0, equivalent=kind)[0] for kind in (False, True)]
    assert both.tolist() == alone


def test_seeds_are_nan_without_spread_or_out_of_reach():
    found = power.seeds_for_power(np.array([0.0, np.nan, 1e6, 1e-9]), 1.0)
    assert found.tolist() == pytest.approx([np.nan, np.nan, np.nan, 2], nan_ok=True)


def test_the_detectable_size_is_the_margin_at_which_a_claim_has_80_percent_power():
    error = power.of_seeds(2.0, 12)
    size = float(power.detectable(error, 0.01))
    assert chances(2 * size, 2.0, 12, None, 0.01, "lower", size)["refuted"] == pytest.approx(0.8)
    assert TTestPower().solve_power(size / 2, None, 0.005, 0.8, alternative="larger") == (
        pytest.approx(12, abs=1e-2)
    )
    within = float(power.detectable(error, 0.01, equivalent=True))
    found = chances(0.0, 2.0, 12, None, 0.01, "equivalent", within)
    assert found["supported"] == pytest.approx(0.8, abs=1e-6)


def test_the_limits_of_a_deviation_by_a_table_of_chi_square():
    # With 4 degrees of freedom, a fifth of values lie below 1.649, and a fifth above 5.989.
    low, high = power.limits_of_spread(1.0, 5)
    assert low == pytest.approx(math.sqrt(4 / 5.989), rel=1e-3)
    assert high == pytest.approx(math.sqrt(4 / 1.649), rel=1e-3)


# -- for the claims of a study ---------------------------------------------------------------------


def planned(**seeds):
    rows = [{"arm": arm, "replicate": str(s)} for arm, some in seeds.items() for s in some]
    return pd.DataFrame(rows)


def test_claims_are_planned_over_the_seeds_that_their_arms_share():
    runs = planned(base=range(10), arm=range(8), apart=range(100, 106))
    claims = [
        Claim("arm", direction="lower", margin=0.01),
        Claim("apart", direction="equivalent", margin=0.02),
        Claim("arm", direction="differs", statistic="spread"),
        Claim("arm", "test/loss", "differs", against="apart"),
    ]
    first, second, third, last = prospects.terms_of(runs, "base", claims)
    assert (first.n, first.m, first.alpha) == (8, None, 0.0125)
    assert (second.n, second.m, second.equivalent) == (6, 10, True)
    assert third is None
    assert (last.n, last.m, last.metric, last.two_sided) == (8, 6, "test/loss", True)


def test_a_prospect_holds_the_chances_for_each_truth_and_the_seeds_needed():
    terms = prospects.Terms("test/error", False, False, 0.01, 12, None, 0.05 / 3)
    found = prospects.prospect(terms, 0.01)
    assert list(found.chances) == [0, 0.005, 0.01, 0.02]
    assert found.chances[0.02] == chances(0.02, 0.01, 12, None, 0.05 / 3, "higher", 0.01)
    seeds = int(found.seeds)
    assert prospects.supported(terms, 0.01, seeds) >= 0.8
    assert prospects.supported(terms, 0.01, seeds - 1) < 0.8
    assert not found.is_hopeless


def test_a_study_that_stays_open_whatever_the_truth_is_hopeless():
    terms = prospects.Terms("test/error", False, False, 0.01, 4, None, 0.01)
    assert prospects.prospect(terms, 0.05).is_hopeless
    assert not terms.is_out_of_reach
    assert replace(terms, n=2).is_out_of_reach


def test_the_spread_is_that_of_differences_if_paired_and_within_arms_otherwise():
    what = Compared("a", "test/error", "b", "test/error")
    x, y = np.array([3.0, 5.0, 4.0, np.inf]), np.array([1.0, 2.0, 3.0, 4.0])
    # Differences 2, 3, 1. Unpaired, the sums of squares are 2 and 5, over 2 and 3 degrees.
    assert prospects.spread_of(Pair(what, x, y, True)) == (pytest.approx(1.0), 3)
    assert prospects.spread_of(Pair(what, x, y, False)) == (pytest.approx(math.sqrt(7 / 5)), 6)
    assert prospects.spread_of(Pair(what, x[:1], y[:1], True)) is None
