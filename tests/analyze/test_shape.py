"""Doubts about an interval: what raises them, and how often normal values do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.analyze import shape
from tests import reference

ONE_BAD = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 60])
EVEN = np.arange(10.0)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_one_bad_seed_skews_the_difference_up_in_an_arm_and_down_in_a_baseline():
    for paired in (True, False):
        assert shape.doubt(ONE_BAD, EVEN, paired=paired) == "skewed up"
        assert shape.doubt(EVEN, ONE_BAD, paired=paired) == "skewed down"
        assert shape.doubt(-ONE_BAD, EVEN, paired=paired) == "skewed down"


def test_pairing_removes_a_tail_that_both_arms_share():
    assert shape.doubt(ONE_BAD + EVEN[::-1], ONE_BAD, paired=True) == ""
    assert shape.doubt(ONE_BAD + EVEN[::-1], ONE_BAD, paired=False) != ""


@pytest.mark.parametrize("far", [1, 1e6])
def test_symmetric_values_raise_no_doubt_however_far_out(far):
    x = np.array([-far, -3.0, -2, -1, 0, 0, 1, 2, 3, far])
    assert shape.doubt(x, np.zeros(10), paired=True) == ""


def test_nine_seeds_of_either_arm_are_few():
    assert shape.doubt(EVEN[:9], np.zeros(9), paired=True) == "few seeds"
    assert shape.doubt(EVEN, EVEN[:9], paired=False) == "few seeds"
    assert shape.doubt(EVEN, np.zeros(10), paired=True) == ""


@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_no_doubt_is_raised_if_there_is_no_interval(n):
    for paired in (True, False):
        assert shape.doubt(np.ones((2, n)), np.ones((2, n)), paired=paired).tolist() == ["", ""]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(8, 30))
def test_skewness_agrees_with_scipy_and_the_formula(seed, rows, n):
    x = drawn(seed, rows, n) ** 3
    found = shape.skewness_z(x)
    assert found == pytest.approx(stats.skewtest(x, axis=-1).statistic)
    assert found[0] == pytest.approx(reference.skewness_z(x[0].tolist()))


def test_the_skewness_of_ten_values_by_hand():
    # Nine zeros and a one: mean 0.1; m2 = 0.09, m3 = 0.072, so √b1 = 0.072 / 0.027 = 8/3.
    x = np.array([0.0] * 9 + [1.0])
    assert reference.skewness_z(x.tolist()) == pytest.approx(float(shape.skewness_z(x)))
    assert shape.skewness_z(x) > 3.29  # p below 0.001


def test_seven_values_are_too_few_for_the_skewness_test():
    assert np.isnan(shape.skewness_z(drawn(0, 3, 7))).all()


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n", [10, 20])
def test_normal_values_raise_a_doubt_once_in_twenty(n, paired):
    found = shape.doubt(drawn(1, 20_000, n), drawn(2, 20_000, n), paired=paired)
    assert (found != "").mean() == pytest.approx(0.05, abs=0.007)


def test_half_of_lognormal_arms_of_ten_seeds_raise_a_doubt():
    x = np.random.default_rng(0).lognormal(size=(5000, 10))
    found = shape.doubt(x, 0.1 * drawn(3, 5000, 10), paired=True)
    assert (found == "skewed up").mean() > 0.5
    assert (found == "skewed down").mean() < 0.01
