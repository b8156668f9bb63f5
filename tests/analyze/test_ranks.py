"""Tests by order alone, compared with enumerating every possible order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.analyze import ranks
from tests import reference

INF = math.inf
# Small whole numbers, so that many tie; infinity stands for a run that did not train.
VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, INF])
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=10)
ARM = st.lists(VALUES, min_size=1, max_size=6)


def array(values):
    return np.array(values, dtype=float)


# -- pairs -----------------------------------------------------------------------------------------


@given(PAIRS)
def test_the_sign_test_agrees_with_enumerating_every_outcome_of_the_pairs(pairs):
    x, y = zip(*pairs, strict=True)
    p = ranks.sign_test(array(x), array(y))
    assert p == pytest.approx(reference.sign_test(x, y))
    assert ranks.sign_test(array(y), array(x)) == p


@given(st.integers(1, 40), st.integers(0, 40))
def test_the_sign_test_agrees_with_scipys_binomial_test(count, below):
    below = min(below, count)
    x = array([0.0] * below + [2.0] * (count - below))
    expected = stats.binomtest(below, count).pvalue
    assert ranks.sign_test(x, np.ones(count)) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "p"), [(3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_with_all_pairs_on_one_side_p_is_two_over_two_to_the_n(n, p):
    assert ranks.sign_test(np.full(n, INF), np.arange(n) / n) == p


def test_a_pair_in_which_neither_run_trained_does_not_count():
    x, y = array([0.1, 0.1, 0.1, INF, 0.2]), array([INF, 0.2, 0.3, INF, 0.2])
    assert ranks.sign_test(x, y) == 0.25  # three pairs are left: 2 / 2³
    assert ranks.sign_test(array([INF, 0.1]), array([INF, 0.1])) == 1
    assert ranks.sign_test(array([]), array([])) == 1


# -- arms that share no seeds ----------------------------------------------------------------------


@given(ARM, ARM)
def test_the_rank_sum_test_agrees_with_enumerating_every_choice_of_runs(x, y):
    p = ranks.rank_sum(array(x), array(y))
    assert p == pytest.approx(reference.rank_sum(x, y))
    assert ranks.rank_sum(array(y), array(x)) == pytest.approx(p)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12))
def test_without_ties_the_rank_sum_test_agrees_with_scipys_exact_test(draw, n, m):
    rng = np.random.default_rng(draw)
    x, y = rng.normal(size=n), rng.normal(size=m)
    expected = stats.mannwhitneyu(x, y, method="exact").pvalue
    assert ranks.rank_sum(x, y) == pytest.approx(expected)


def test_the_rank_sum_test_by_hand():
    # Of the ten ways to choose two of five, one on each side is as extreme: 2 / 10.
    assert ranks.rank_sum(array([INF, INF]), array([0.1, 0.2, 0.3])) == pytest.approx(0.2)
    # The last two tie at rank 4.5: {4.5, 4.5} and {1, 2} are the most extreme, again two of ten.
    assert ranks.rank_sum(array([0.1, 0.2]), array([0.3, INF, INF])) == pytest.approx(0.2)
    assert ranks.rank_sum(array([INF, INF]), array([INF])) == 1
    assert math.isnan(ranks.rank_sum(array([]), array([0.1])))


# -- which side ------------------------------------------------------------------------------------


@given(ARM, ARM)
def test_the_side_is_that_of_most_comparisons(x, y):
    balance = sum((a > b) - (a < b) for a in x for b in y)
    assert ranks.side(array(x), array(y), paired=False) == np.sign(balance)


@given(PAIRS)
def test_the_side_of_pairs_is_that_of_most_pairs(pairs):
    x, y = zip(*pairs, strict=True)
    balance = sum((a > b) - (a < b) for a, b in pairs)
    assert ranks.side(array(x), array(y), paired=True) == np.sign(balance)


def test_if_higher_is_better_a_run_that_did_not_train_ranks_lowest():
    x, y = array([-INF] * 6), np.full(6, 0.9)
    assert ranks.side(x, y, paired=True) == ranks.side(x, y, paired=False) == -1
    assert ranks.sign_test(x, y) == 0.03125
