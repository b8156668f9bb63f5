"""Estimates and verdicts, held against scipy, statsmodels, worked examples and slow arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW, ttost_ind, ttost_paired

from ablate.analyze import estimates, resampling, verdicts
from ablate.analyze.spread import differences, has_spread, pooled_sd
from ablate.errors import AblateError
from ablate.study.claim import Claim
from scripts import simulate_statistics as simulations
from tests import reference

# Additional hours of sleep after two drugs, ten patients: Student 1908, Biometrika 6(1), p. 20.
DEXTRO = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
LAEVO = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
# Heights of cross-fertilized plants above their self-fertilized pairs, in eighths of an inch:
# Darwin 1876; Fisher 1935, The Design of Experiments, table 3 and section 21.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)

SEEDS, ROWS = st.integers(2, 12), st.integers(1, 4)
ANY = st.integers(0, 2**32 - 1)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def rng():
    return np.random.default_rng(0)


# -- means and their differences -------------------------------------------------------------------


@given(ANY, ROWS, SEEDS)
def test_the_interval_of_a_mean_is_statsmodels(seed, rows, n):
    x = drawn(seed, rows, n)
    found = estimates.mean(x)
    for row, values in enumerate(x):
        low, high = DescrStatsW(values).tconfint_mean()
        assert (found.low[row], found.high[row]) == pytest.approx((low, high))
        assert found.value[row] == pytest.approx(values.mean())


def test_the_interval_of_a_mean_by_hand():
    # Mean 3, sd √2.5, and Student's 0.975 quantile at 4 degrees of freedom is 2.776445.
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = estimates.mean(np.array(values))
    assert found.high - found.value == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    half = reference.t_half_width(values, 2.776445)
    assert found.value - found.low == pytest.approx(half, rel=1e-6)


def test_students_sleep_data_give_his_difference():
    # t = 4.0621 at 9 degrees of freedom, p = 0.00283, interval 0.70 to 2.46, as R's t.test prints.
    found = estimates.paired(LAEVO, DEXTRO)
    assert found.value == pytest.approx(1.58)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_welchs_test_of_the_sleep_data():
    # R's t.test, unpaired: t = 1.8608, df = 17.776, p = 0.07939, interval -0.2054832 to 3.3654832.
    found = estimates.welch(LAEVO, DEXTRO)
    assert found.p == pytest.approx(0.07939, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((-0.2054832, 3.3654832), abs=1e-6)


@given(ANY, ROWS, SEEDS)
def test_pairs_are_tested_as_scipy_tests_their_differences(seed, rows, n):
    x, y = drawn(seed, 2, rows, n)
    found = estimates.paired(x, y)
    for row in range(rows):
        test = stats.ttest_1samp(x[row] - y[row], 0)
        interval = test.confidence_interval()
        assert found.p[row] == pytest.approx(test.pvalue)
        assert (found.low[row], found.high[row]) == pytest.approx((interval.low, interval.high))


@given(ANY, SEEDS, SEEDS)
def test_unequal_arms_are_tested_by_welchs_formula(seed, n, m):
    x, y = drawn(seed, n), 3 * drawn(seed + 1, m)
    t, df = reference.welch(x.tolist(), y.tolist())
    assert estimates.welch(x, y).p == pytest.approx(2 * stats.t.sf(abs(t), df))


def test_one_seed_has_a_difference_and_neither_interval_nor_p():
    for found in (
        estimates.paired(np.array([0.3]), np.array([0.1])),
        estimates.welch(np.array([0.3]), np.array([0.0, 0.2])),
    ):
        assert found.value == pytest.approx(0.2)
        assert np.isnan([found.low, found.high, found.p]).all()
    alone = estimates.mean(np.array([0.3]))
    assert alone.value == 0.3
    assert math.isnan(alone.low)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_seeds_for_anything_are_not_a_warning(n):
    x = y = np.zeros((2, n))
    assert np.isnan(estimates.mean(x).low).all()
    for size in (estimates.d_z, estimates.hedges_g, estimates.correlation):
        assert np.isnan(size(x, y)).all()
    assert np.isnan(verdicts.equivalence_paired(x, y, 0.1)).all()
    assert np.isnan(verdicts.equivalence_welch(x, y, 0.1)).all()
    assert np.isnan(resampling.bca(x, None, rng())[0]).all()


# 0.3 - 0.2 and 0.8 - 0.7 are the same to a reader, and differ in the last bits.
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0.2, 0.2, 0.2], [0.1, 0.1, 0.1]),
        ([0.2, 0.3, 0.8], [0.1, 0.2, 0.7]),
        ([0.1, 0.2, 0.7], [0.1, 0.2, 0.7]),
    ],
)
def test_a_difference_that_never_varies_proves_nothing(x, y):
    x, y = np.array(x), np.array(y)
    found = estimates.paired(x, y)
    assert found.value == pytest.approx(float(x.mean() - y.mean()))
    assert np.isnan([found.low, found.high, found.p]).all()
    assert not has_spread(x, y)
    assert math.isnan(estimates.d_z(x, y))
    assert math.isnan(verdicts.equivalence_paired(x, y, 1.0))


def test_one_constant_arm_is_compared_with_one_that_varies():
    x, y = np.full(5, 0.1), np.array([0.2, 0.3, 0.4, 0.5, 0.6])
    # The constant arm's mean is exact: Welch's test is that of one sample, at 4 degrees of freedom.
    assert estimates.welch(x, y).p == pytest.approx(stats.ttest_1samp(y, 0.1).pvalue)
    assert math.isnan(estimates.correlation(x, y))
    assert math.isnan(estimates.welch(x, x).p)
    assert math.isnan(estimates.hedges_g(x, x))


# -- without the normal distribution ---------------------------------------------------------------


def test_darwins_plants_give_fishers_count():
    # Fisher found 1,726 of 32,768 sign flips to be as extreme: 5.267 %.
    p, smallest = resampling.sign_flip(DARWIN, rng())
    assert p == 1726 / 32768
    assert smallest == 1 / 2**14


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_sign_flips_agree_with_going_through_them_one_by_one(values):
    d = np.array(values, dtype=float) / 359
    assert resampling.sign_flip(d, rng())[0] == pytest.approx(reference.sign_flip(d.tolist()))


@given(ANY, ROWS, st.integers(2, 8))
def test_sign_flips_agree_with_scipys_permutation_test(seed, rows, n):
    d = drawn(seed, rows, n)
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", axis=-1)
    assert resampling.sign_flip(d, rng())[0] == pytest.approx(test.pvalue)


def test_sampled_sign_flips_come_near_the_exact_p():
    # Above 2^16 flips: eight differences and nine zeros, whose signs do not matter.
    few = drawn(3, 8) + 0.5
    many = np.concatenate([few, np.zeros(9)])
    exact, (sampled, smallest) = (
        reference.sign_flip(few.tolist()),
        resampling.sign_flip(many, rng()),
    )
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000))
    assert smallest == 1 / 10_000


def test_five_seeds_cannot_reach_significance_by_ranks_or_flips():
    d = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    for p, smallest in (resampling.sign_flip(d, rng()), resampling.wilcoxon(d, rng())):
        assert (p, smallest) == (0.0625, 0.0625)
    assert verdicts.smallest_p(5) == 0.0625


@given(ANY, ROWS, st.integers(3, 30))
def test_wilcoxon_without_ties_is_scipys_exact_test(seed, rows, n):
    d = drawn(seed, rows, n)
    expected = stats.wilcoxon(d, axis=-1, method="exact").pvalue
    assert resampling.wilcoxon(d, rng())[0] == pytest.approx(expected)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=7).filter(any))
def test_wilcoxon_with_ties_is_exact_as_scipys_permutations_are(values):
    d = np.array(values, dtype=float)
    expected = stats.wilcoxon(d, method=stats.PermutationMethod()).pvalue
    p, smallest = resampling.wilcoxon(d, rng())
    assert p == pytest.approx(expected)
    assert smallest == 2.0 ** (1 - np.count_nonzero(d))


def test_wilcoxon_of_nothing_but_zeros_is_certain_of_nothing():
    for n in (4, 20):
        assert resampling.wilcoxon(np.zeros(n), rng()) == (1, 1)


def test_differences_of_the_same_number_of_images_tie():
    x, y = np.array([0.3, 0.2, 0.8]), np.array([0.2, 0.1, 0.7])
    assert len(set((x - y).tolist())) > 1
    assert len(set(differences(x, y).tolist())) == 1
    assert differences(x, y) == pytest.approx([0.1] * 3)
    assert differences(x, x).tolist() == [0, 0, 0]


def test_bca_is_scipys_with_the_same_generator():
    x = np.random.default_rng(1).lognormal(size=(2, 25))
    low, high = resampling.bca(x, None, rng())
    for row in range(2):  # the resampled places are the same for every row
        found = stats.bootstrap((x[row],), np.mean, axis=-1, rng=rng(), method="BCa")
        assert (low[row], high[row]) == pytest.approx(found.confidence_interval, rel=1e-9)


def test_bca_of_two_arms_is_scipys():
    x, y = np.random.default_rng(1).lognormal(size=25), np.random.default_rng(2).lognormal(size=20)

    def difference(a, b, axis):
        return a.mean(axis) - b.mean(axis)

    found = stats.bootstrap((x, y), difference, rng=rng(), method="BCa")
    assert resampling.bca(x, y, rng()) == pytest.approx(found.confidence_interval, rel=1e-9)


def test_bca_stands_a_test_set_that_hardly_tells_seeds_apart():
    low, high = resampling.bca(np.array([0.01] * 19 + [0.02]), None, rng())
    assert low == pytest.approx(0.01)
    assert 0.01 < high < 0.02


def test_bca_is_not_given_below_twenty_seeds_or_without_spread():
    assert np.isnan(resampling.bca(drawn(0, 19), None, rng())).all()
    assert np.isnan(resampling.bca(drawn(0, 30), drawn(1, 19), rng())).all()
    assert np.isnan(resampling.bca(np.full(20, 0.1), None, rng())).all()


# -- sizes of effects ------------------------------------------------------------------------------


def test_the_sleep_data_have_a_d_z_of_their_t_over_root_n():
    # Lakens 2013, equation 7: d_z = t / √n.
    t = stats.ttest_rel(LAEVO, DEXTRO).statistic
    assert estimates.d_z(LAEVO, DEXTRO) == pytest.approx(t / math.sqrt(10))


@given(ANY, SEEDS, SEEDS)
def test_hedges_g_is_statsmodels(seed, n, m):
    x, y = drawn(seed, n), drawn(seed + 1, m)
    g, _ = effectsize_smd(x.mean(), x.std(ddof=1), n, y.mean(), y.std(ddof=1), m)
    assert estimates.hedges_g(x, y) == pytest.approx(g)


def test_hedges_g_by_hand():
    # Means 2 apart, both variances 2.5, df 8: 2 / √2.5 times 1 - 3 / 31.
    x = np.array([3.0, 4.0, 5.0, 6.0, 7.0])
    assert estimates.hedges_g(x, x - 2) == pytest.approx(2 / math.sqrt(2.5) * (28 / 31))


@given(*[st.lists(st.integers(0, 9), min_size=1, max_size=8)] * 2)
def test_the_probability_of_improvement_counts_pairs(x, y):
    found = estimates.improvement(np.array(x, dtype=float), np.array(y, dtype=float))
    assert found == pytest.approx(reference.improvement(x, y))


def test_an_arm_below_every_run_of_the_baseline_improves_surely():
    assert estimates.improvement(np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])) == 1
    assert estimates.improvement(np.array([0.1, 0.2]), np.array([0.1, 0.2])) == 0.5


@given(ANY, st.integers(3, 12))
def test_the_correlation_is_numpys(seed, n):
    x, y = drawn(seed, 2, n)
    assert estimates.correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_two_seeds_have_no_correlation():
    assert math.isnan(estimates.correlation(drawn(0, 2), drawn(1, 2)))


def test_a_test_set_of_ten_thousand_images_leaves_a_tenth_of_a_point():
    # √(0.01 · 0.99 / 10,000) = 0.000995.
    assert estimates.sampling_error(np.array(0.01), 10_000) == pytest.approx(0.000994987, rel=1e-6)


# -- families and verdicts -------------------------------------------------------------------------


def test_holms_correction_by_hand():
    # 0.01 · 3, then 0.02 · 2, then 0.04, which may not fall below the one before.
    assert verdicts.holm(np.array([0.02, 0.01, 0.04])) == pytest.approx([0.04, 0.03, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holms_correction_agrees_with_stepping_down(p):
    assert verdicts.holm(np.array(p)) == pytest.approx(reference.holm(p))


def test_holms_correction_of_many_families_is_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.2, (4, 7))
    expected = [multipletests(family, method="holm")[1] for family in p]
    assert verdicts.holm(p) == pytest.approx(np.array(expected))


def test_a_comparison_without_a_p_counts_in_its_family():
    assert verdicts.holm(np.array([0.01, np.nan, 0.02])) == pytest.approx(
        [0.03, np.nan, 0.04], nan_ok=True
    )
    assert verdicts.holm(np.array([])).size == 0


@given(ANY, SEEDS, st.floats(0.01, 3))
def test_equivalence_of_pairs_is_statsmodels(seed, n, margin):
    x, y = drawn(seed, 2, n)
    expected = ttost_paired(x, y, -margin, margin)[0]
    assert verdicts.equivalence_paired(x, y, margin) == pytest.approx(expected)


@given(ANY, SEEDS, SEEDS, st.floats(0.01, 3))
def test_equivalence_of_arms_is_statsmodels(seed, n, m, margin):
    x, y = drawn(seed, n), drawn(seed + 1, m)
    expected = ttost_ind(x, y, -margin, margin, usevar="unequal")[0]
    assert verdicts.equivalence_welch(x, y, margin) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("delta", "p_holm", "p_equivalent", "direction", "margin", "expected"),
    [
        (-0.02, 0.01, 0.9, "lower", 0.01, "supported"),
        (-0.02, 0.01, 0.9, "higher", 0.01, "refuted"),
        (0.02, 0.01, 0.9, "lower", 0.01, "refuted"),
        (0.02, 0.01, 0.9, "differs", 0.01, "supported"),
        (-0.02, 0.01, 0.9, "differs", None, "supported"),
        (-0.01, 0.01, 0.5, "lower", 0.01, "supported"),  # at least δ, and this is δ
        (-0.005, 0.01, 0.001, "lower", 0.01, "equivalent"),  # sure, and smaller than matters
        (-0.005, 0.01, 0.2, "lower", 0.01, "inconclusive"),
        (0.005, 0.01, 0.2, "lower", 0.01, "inconclusive"),  # not refuted either: below δ
        (-0.02, 0.05, 0.2, "lower", 0.01, "inconclusive"),  # below 0.05, not at it
        (0.0, 0.9, 0.01, "lower", 0.01, "equivalent"),
        (0.0, 0.9, 0.01, "lower", None, "inconclusive"),
        (-0.02, math.nan, math.nan, "lower", 0.01, "inconclusive"),
        (math.nan, math.nan, math.nan, "differs", None, "inconclusive"),
    ],
)
def test_the_first_verdict_that_holds_is_given(
    delta, p_holm, p_equivalent, direction, margin, expected
):
    assert verdicts.verdict(delta, p_holm, p_equivalent, direction, margin) == expected
    assert expected in verdicts.VERDICTS


def test_a_claim_with_faults_tells_them_all():
    with pytest.raises(AblateError) as caught:
        Claim("dropout", "test/error", "lowr", margin=0)
    assert "did you mean 'lower'" in caught.value.faults[0]
    assert "> 0" in caught.value.faults[1]


# -- spread ---------------------------------------------------------------------------------------


def test_the_pooled_deviation_by_hand():
    # Variances 1 at 2 degrees of freedom and 4 at 1: √((2 · 1 + 1 · 4) / 3).
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.0, math.sqrt(8)])
    assert pooled_sd(x, y) == pytest.approx(math.sqrt(2))


# -- by simulation, as scripts/simulate_statistics.py does at length -------------------------------

FEW = 4000  # simulations: a share of 0.95 is known to within 0.0034, one standard error


@pytest.mark.parametrize("n", [5, 10, 30])
def test_t_intervals_of_normal_errors_cover_as_they_say(n):
    assert simulations.t_coverage("normal", n, FEW, rng()) == pytest.approx(0.95, abs=0.01)


def test_t_intervals_of_skewed_errors_cover_less():
    assert simulations.t_coverage("lognormal", 5, FEW, rng()) < 0.9


def test_identical_arms_are_told_apart_in_at_most_one_family_of_twenty():
    assert simulations.false_verdicts("normal", 5, FEW, rng()) <= 0.05 + 3 * 0.0034


def test_arms_at_the_margin_are_called_equivalent_in_at_most_one_case_of_twenty():
    assert simulations.equivalence_level("normal", 10, FEW, rng()) == pytest.approx(0.05, abs=0.012)


def test_bca_falls_short_at_five_seeds():
    assert simulations.bca_coverage("normal", 5, 400, rng()) < 0.92
