"""Ratios of standard deviations: against formulas, their definition, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.analyze import spread_tests
from tests import reference

SEEDS = st.integers(0, 2**32 - 1)


def normal_pairs(count, seeds, correlation, ratio=1.0, draw=0):
    """Draw pairs of normal arms [count, seeds]; the first spreads `ratio` times as much."""
    generator = np.random.default_rng(draw)
    shared, x, y = generator.normal(size=(3, count, seeds))
    share = math.sqrt(correlation)
    rest = math.sqrt(1 - correlation)
    return ratio * (share * shared + rest * x), share * shared + rest * y


@given(SEEDS, st.integers(3, 20), st.floats(0, 0.9), st.floats(0.2, 5))
def test_pairs_are_tested_by_the_formula_of_pitman_and_morgan(draw, seeds, correlation, ratio):
    x, y = normal_pairs(1, seeds, correlation, ratio, draw)
    value, t = reference.pitman_morgan(x[0].tolist(), y[0].tolist())
    found = spread_tests.paired(0.1 + 0.01 * x, 0.2 + 0.01 * y, 0.05)
    assert found.value[0] == pytest.approx(value)
    assert found.p[0] == pytest.approx(2 * stats.t.sf(abs(t), seeds - 2), rel=1e-6)


@given(SEEDS, st.integers(3, 20), st.floats(0, 0.9), st.floats(0.2, 5), st.floats(0.001, 0.2))
def test_the_interval_ends_where_the_test_begins_to_reject(draw, seeds, correlation, ratio, alpha):
    x, y = normal_pairs(1, seeds, correlation, ratio, draw)
    for compare in (spread_tests.paired, spread_tests.unpaired):
        found = compare(x, y, alpha)
        assert found.low[0] < found.value[0] < found.high[0]
        for bound in (found.low[0], found.high[0]):
            assert compare(x / bound, y, alpha).p[0] == pytest.approx(alpha, rel=1e-4)


@given(SEEDS, st.integers(2, 12), st.integers(2, 12))
def test_without_shared_seeds_arms_are_tested_by_f(draw, few, many):
    generator = np.random.default_rng(draw)
    x, y = generator.normal(size=few), generator.normal(size=many)
    found = spread_tests.unpaired(x[None], y[None], 0.05)
    f = x.var(ddof=1) / y.var(ddof=1)
    below = stats.f.cdf(f, few - 1, many - 1)
    assert found.value[0] ** 2 == pytest.approx(f)
    assert found.p[0] == pytest.approx(2 * min(below, 1 - below), rel=1e-6)
    swapped = spread_tests.unpaired(y[None], x[None], 0.05)
    assert swapped.p[0] == pytest.approx(found.p[0])
    assert swapped.high[0] == pytest.approx(1 / found.low[0])


@given(SEEDS, st.integers(4, 20), st.floats(0, 0.9), st.floats(0.001, 0.2))
def test_the_interval_of_pairs_agrees_with_one_found_by_bisection(draw, seeds, correlation, alpha):
    x, y = normal_pairs(5, seeds, correlation, draw=draw)
    found = spread_tests.paired(x, y, np.full(5, alpha))
    t = stats.t.isf(alpha / 2, seeds - 2)
    for i in range(5):
        ends = reference.pitman_morgan_interval(x[i].tolist(), y[i].tolist(), t)
        assert (found.low[i], found.high[i]) == pytest.approx(ends, rel=1e-6)


@given(SEEDS, st.integers(2, 12), st.integers(2, 12), st.floats(0.001, 0.2))
def test_the_interval_of_arms_agrees_with_quantiles_of_f(draw, few, many, alpha):
    generator = np.random.default_rng(draw)
    x, y = generator.normal(size=few), generator.normal(size=many)
    found = spread_tests.unpaired(x[None], y[None], np.array([alpha]))
    f = x.var(ddof=1) / y.var(ddof=1)
    quantiles = (stats.f.ppf(q, few - 1, many - 1) for q in (1 - alpha / 2, alpha / 2))
    ends = [math.sqrt(f / quantile) for quantile in quantiles]
    assert (found.low[0], found.high[0]) == pytest.approx(ends)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize("seeds", [5, 12, 30])
def test_arms_of_equal_spread_are_told_apart_in_at_most_5_percent(seeds, correlation):
    x, y = normal_pairs(20_000, seeds, correlation)
    of_pairs = (spread_tests.paired(x, y, 0.05).p < 0.05).mean()
    assert of_pairs == pytest.approx(0.05, abs=0.006)  # 4 standard errors of 20,000 draws
    _, other = normal_pairs(20_000, seeds, correlation, draw=1)
    assert (spread_tests.unpaired(x, other, 0.05).p < 0.05).mean() == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_interval_has_its_stated_coverage(alpha):
    x, y = normal_pairs(20_000, 12, 0.5, ratio=1.7)
    found = spread_tests.paired(x, y, alpha)
    covered = ((found.low <= 1.7) & (found.high >= 1.7)).mean()
    assert covered == pytest.approx(1 - alpha, abs=0.006)


@pytest.mark.parametrize("paired", [True, False])
def test_arms_at_the_margin_are_called_equivalent_in_at_most_5_percent(paired):
    x, y = normal_pairs(20_000, 20, 0.5 if paired else 0, ratio=2.0)
    test = spread_tests.paired if paired else spread_tests.unpaired
    for one, other in ((x, y), (y, x)):
        found = test(one, other, 0.05)
        within = (found.low > 0.5) & (found.high < 2)
        assert within.mean() < 0.056
        assert ((found.high < 0.5) | (found.low > 2)).mean() < 0.056, (
            "called beyond the margin too often"
        )


def test_without_spread_or_with_too_few_seeds_there_is_no_p_and_no_interval():
    x, y = normal_pairs(1, 6, 0.5)
    flat = np.full_like(x, 0.1)
    for one, other in ((flat, y), (x, flat), (x[:, :1], y[:, :1])):
        for compare in (spread_tests.paired, spread_tests.unpaired):
            found = compare(one, other, 0.05)
            assert np.isnan([found.p, found.low, found.high]).all()
    same, in_step = spread_tests.paired(x, x, 0.05), spread_tests.paired(2 * x + 1, x, 0.05)
    assert np.isnan([same.p, same.low]).all(), "identical runs prove nothing"
    assert np.isnan([in_step.p, in_step.low]).all(), "perfectly correlated runs prove nothing"
    assert in_step.value[0] == pytest.approx(2)
    assert np.isnan(spread_tests.paired(x[:, :2], y[:, :2], 0.05).p).all()
