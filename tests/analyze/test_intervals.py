"""Intervals and their p values, against tables, scipy, worked examples and slow arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.analyze import intervals
from ablate.analyze.intervals import Component, Estimate
from tests import reference

SEEDS, ROWS = st.integers(2, 12), st.integers(1, 4)
ANY = st.integers(0, 2**32 - 1)
ALPHAS = st.sampled_from([0.3, 0.05, 0.05 / 3, 0.005])


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def squares(x):
    """Return the variance of a mean, and its degrees of freedom."""
    return reference.mean_and_sd(x)[1] ** 2 / len(x), len(x) - 1


def test_an_interval_of_pairs_by_hand():
    # Differences 1, 2, 3, 4, 5: mean 3, sd √2.5. Student's table has 2.776 at 0.05 and 4.604 at
    # 0.01, with 4 degrees of freedom.
    found = intervals.paired(np.array([3.0, 5.0, 7.0, 9.0, 11.0]), np.array([2.0, 3, 4, 5, 6]))
    assert found.centre == 3
    assert found.half(0.05) == pytest.approx(2.776 * math.sqrt(0.5), rel=1e-3)
    assert found.interval(0.01) == pytest.approx((3 - 3.2555, 3 + 3.2555), rel=1e-3)
    # t = 3 / √0.5 = 4.243, between the table's 3.747 at 0.02 and 4.604 at 0.01.
    assert 0.01 < found.p() < 0.02


def test_an_interval_of_two_arms_by_hand():
    # Variances of the means: 1/3 with 2 degrees of freedom, 2.5/5 with 4. Student's table has
    # 4.303 and 2.776: half² = 18.516 / 3 + 7.706 / 2.
    found = intervals.unpaired(np.array([11.0, 12.0, 13.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert found.centre == 9
    assert found.half(0.05) == pytest.approx(math.sqrt(18.516 / 3 + 7.706 / 2), rel=1e-3)
    assert found.error == pytest.approx(math.sqrt(1 / 3 + 1 / 2))


def test_errors_over_seeds_and_images_add_up():
    # 0.33² with 4 degrees of freedom and 0.30² with 9,999, where Student's quantile is the
    # normal's 1.960: half = √(0.9161² + 0.588²) = 1.0886.
    found = Estimate(
        np.array(-1.67), (Component(np.array(0.33**2), 4), Component(np.array(0.3**2), 9999))
    )
    assert found.half(0.05) == pytest.approx(1.0886, rel=1e-3)


@given(ANY, ROWS, SEEDS)
def test_intervals_of_pairs_agree_with_scipy(seed, rows, n):
    x, y = drawn(seed, 2, rows, n)
    found = intervals.paired(x, y)
    for row in range(rows):
        test = stats.ttest_rel(x[row], y[row])
        low, high = found.interval(0.1)
        assert found.p()[row] == pytest.approx(test.pvalue)
        assert (low[row], high[row]) == pytest.approx(tuple(test.confidence_interval(0.9)))


@given(ANY, SEEDS)
def test_the_p_of_a_mean_agrees_with_scipy(seed, n):
    x = drawn(seed, n)
    assert intervals.mean(x).p(0.3) == pytest.approx(stats.ttest_1samp(x, 0.3).pvalue)


@given(ANY, SEEDS, SEEDS, ALPHAS, st.floats(0.01, 100))
def test_intervals_of_arms_agree_with_adding_components_one_by_one(seed, n, m, alpha, scale):
    x, y = drawn(seed, n), scale * drawn(seed + 1, m)
    found, components = intervals.unpaired(x, y), [squares(x.tolist()), squares(y.tolist())]
    assert found.half(alpha) == pytest.approx(reference.banerjee_half_width(components, alpha))
    expected = reference.banerjee_p(abs(x.mean() - y.mean()), components)
    assert found.p() == pytest.approx(expected, rel=1e-6)


@given(ANY, ROWS, SEEDS, SEEDS, ALPHAS)
def test_the_interval_at_level_p_ends_at_the_value(seed, rows, n, m, alpha):
    x, y = drawn(seed, rows, n), drawn(seed + 1, rows, m) + 3
    found = intervals.unpaired(x, y)
    low, high = found.interval(found.p(0.5))
    assert np.where(found.centre < 0.5, high, low) == pytest.approx(np.full(rows, 0.5))
    assert (found.p(found.interval(alpha)[0])) == pytest.approx(np.full(rows, alpha))


def test_arms_of_equal_size_and_spread_get_students_t_with_one_arms_freedom():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([5.0, 6.0, 7.0])
    # Each component 1/3 at 2 degrees of freedom: t = 4 / √(2/3).
    assert intervals.unpaired(x, y).p() == pytest.approx(2 * stats.t.sf(4 / math.sqrt(2 / 3), 2))


def test_the_interval_is_never_shorter_than_welchs():
    x, y = drawn(1, 500, 3), 2 * drawn(2, 500, 9)
    welch = stats.ttest_ind(x, y, axis=-1, equal_var=False).confidence_interval(0.95)
    assert (2 * intervals.unpaired(x, y).half(0.05) >= welch.high - welch.low - 1e-12).all()


def test_each_interval_may_have_its_own_level():
    found = intervals.paired(*drawn(3, 2, 2, 8))
    both = found.half(np.array([0.05, 0.05 / 3]))
    assert both == pytest.approx([found.half(0.05)[0], found.half(0.05 / 3)[1]])


def test_an_arm_whose_seeds_all_agree_has_unknown_spread():
    found = intervals.unpaired(np.full(3, 0.1), np.array([0.2, 0.3, 0.4, 0.5, 0.6]))
    assert found.centre == pytest.approx(-0.3)
    assert math.isnan(found.half(0.05))
    assert math.isnan(found.p())


def test_no_difference_has_p_of_one_and_a_huge_one_stays_above_zero():
    x = np.array([1.0, 2.0, 3.0])
    assert intervals.unpaired(x, x).p() == pytest.approx(1)
    assert intervals.paired(x, np.array([3.0, 1.0, 2.0])).p() == 1
    far = Estimate(np.array(1.0), (Component(np.array(1e-9), 1e4),) * 2)
    assert far.p() == pytest.approx(1e-100)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_values_or_no_spread_have_neither_interval_nor_p(n):
    # 0.3 - 0.2 and 0.2 - 0.1 differ only by rounding.
    x, y = np.array([0.2, 0.3, 0.8])[:n], np.array([0.1, 0.2, 0.7])[:n]
    same = np.full((2, n), 0.1)
    for found in (intervals.paired(x, y), intervals.mean(same), intervals.unpaired(same, same)):
        assert np.isnan(found.p()).all()
        assert np.isnan(found.interval(0.05)).all()
        assert np.isnan(found.centre).all() == (n == 0)


def test_a_row_without_spread_does_not_affect_the_others():
    found = intervals.mean(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]))
    assert np.isnan(found.half(0.05)).tolist() == [False, True]
    assert np.isnan(found.p()).tolist() == [False, True]


def test_one_run_per_arm_gives_a_difference_and_no_interval():
    found = intervals.unpaired(np.array([0.3]), np.array([0.0, 0.2]))
    assert found.centre == pytest.approx(0.2)
    assert math.isnan(found.half(0.05))
