"""Estimates and intervals, against scipy, statsmodels, worked examples and slow arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.weightstats import DescrStatsW

from ablate.analyze import estimates, intervals, resampling
from ablate.analyze.spread import differences, has_spread, pooled_sd, rounding, sd
from ablate.errors import AblateError
from ablate.study.claim import Claim
from tests import reference

# Additional hours of sleep after two drugs, ten patients: Student 1908, Biometrika 6(1), p. 20.
DEXTRO = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
LAEVO = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
# By how much cross-fertilized plants outgrew their self-fertilized pairs, in eighths of an inch:
# Darwin 1876; Fisher 1935, The Design of Experiments, table 3 and section 21.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)

SEEDS, ROWS = st.integers(2, 12), st.integers(1, 4)
ANY = st.integers(0, 2**32 - 1)
LEVELS = st.sampled_from([0.05, 0.05 / 3, 0.001])
FEW = 4000  # simulations: a share of 0.95 is known to within 0.0034, one standard error


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def rng():
    return np.random.default_rng(0)


# -- means and their differences -------------------------------------------------------------------


@given(ANY, ROWS, SEEDS, LEVELS)
def test_the_interval_of_a_mean_agrees_with_statsmodels(seed, rows, n, alpha):
    x = drawn(seed, rows, n)
    found = intervals.mean(x)
    low, high = found.interval(alpha)
    for row, values in enumerate(x):
        assert (low[row], high[row]) == pytest.approx(DescrStatsW(values).tconfint_mean(alpha))
        assert found.centre[row] == pytest.approx(values.mean())
        assert found.error[row] == pytest.approx(stats.sem(values))
    alone = estimates.t_interval(x.mean(-1), sd(x), np.full(rows, n))
    assert (alone.low, alone.high) == (
        pytest.approx(found.interval(0.05)[0]),
        pytest.approx(found.interval(0.05)[1]),
    )


def test_the_interval_of_a_mean_by_hand():
    # Mean 3, sd √2.5, and Student's 0.975 quantile at 4 degrees of freedom is 2.776445.
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    half = intervals.mean(np.array(values)).half(0.05)
    assert half == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert half == pytest.approx(reference.t_half_width(values, 2.776445), rel=1e-6)


def test_students_sleep_data_give_the_published_difference():
    # t = 4.0621 at 9 degrees of freedom, p = 0.00283, interval 0.70 to 2.46, as R's t.test prints.
    found = intervals.paired(LAEVO, DEXTRO)
    assert found.centre == pytest.approx(1.58)
    assert found.p() == pytest.approx(0.002833, abs=1e-6)
    assert found.interval(0.05) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_the_sleep_data_as_two_groups_by_hand():
    # Variances 4.009 and 3.200556 over ten patients each, and t at 9 degrees is 2.262157 for both:
    # 2.262157 √(0.4009 + 0.3200556) = 1.920777. (Welch's, at 17.8 degrees: 1.785483.)
    found = intervals.unpaired(LAEVO, DEXTRO)
    assert found.half(0.05) == pytest.approx(1.920777, abs=1e-5)
    assert found.half(0.05) > 1.785483
    # With two components known equally well, p is Student's: t = 1.8608 at 9 degrees.
    assert found.p() == pytest.approx(2 * stats.t.sf(1.58 / found.error, 9))


@given(ANY, ROWS, SEEDS, LEVELS)
def test_pairs_are_tested_as_scipy_tests_their_differences(seed, rows, n, alpha):
    x, y = drawn(seed, 2, rows, n)
    found = intervals.paired(x, y)
    low, high = found.interval(alpha)
    for row in range(rows):
        test = stats.ttest_1samp(x[row] - y[row], 0)
        ends = test.confidence_interval(1 - alpha)
        assert found.p()[row] == pytest.approx(test.pvalue)
        assert (low[row], high[row]) == pytest.approx((ends.low, ends.high))


@given(ANY, SEEDS, SEEDS, LEVELS)
def test_without_shared_seeds_the_components_add_up_each_with_its_quantile(seed, n, m, alpha):
    x, y = drawn(seed, n), 3 * drawn(seed + 1, m)
    parts = [reference.mean_and_sd(side.tolist())[1] ** 2 / len(side) for side in (x, y)]
    quantiles = [stats.t.isf(alpha / 2, count - 1) for count in (n, m)]
    half = reference.half_of_two(parts, quantiles)
    assert intervals.unpaired(x, y).half(alpha) == pytest.approx(half)


@given(ANY, SEEDS, SEEDS, st.floats(-3, 3), st.booleans())
def test_p_is_the_level_at_which_the_interval_ends_at_the_value(seed, n, m, value, paired):
    x, y = drawn(seed, n), 3 * drawn(seed + 1, n if paired else m)
    found = (intervals.paired if paired else intervals.unpaired)(x, y)
    p = float(found.p(value))
    assert 0 <= p <= 1
    if 1e-90 < p < 1:
        touched = np.abs(np.array(found.interval(p)) - value).min()
        assert touched < 1e-6 * float(found.half(p)) + 1e-12


def test_tiny_p_values_stop_at_a_bound():
    x = np.array([0.0, 1e-9, 2e-9] * 30)
    assert intervals.unpaired(x, x + 1).p() == pytest.approx(1e-100)


def test_one_seed_gives_a_difference_but_no_interval_and_no_p():
    for found in (
        intervals.paired(np.array([0.3]), np.array([0.1])),
        intervals.unpaired(np.array([0.3]), np.array([0.0, 0.2])),
    ):
        assert found.centre == pytest.approx(0.2)
        assert np.isnan([*found.interval(0.05), found.p()]).all()
    alone = intervals.mean(np.array([0.3]))
    assert alone.centre == 0.3
    assert math.isnan(alone.half(0.05))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_seeds_give_nan_and_no_warning(n):
    x = y = np.zeros((2, n))
    for found in (intervals.mean(x), intervals.paired(x, y), intervals.unpaired(x, y)):
        assert np.isnan([*found.interval(0.05), found.p()]).all()
    for size in (estimates.d_z, estimates.hedges_g, estimates.correlation):
        assert np.isnan(size(x, y)).all()
    assert np.isnan(resampling.bca(x, None, rng())[0]).all()


# 0.3 - 0.2 and 0.8 - 0.7 look the same but differ in their last bits.
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
    found = intervals.paired(x, y)
    assert found.centre == pytest.approx(float(x.mean() - y.mean()))
    assert np.isnan([*found.interval(0.05), found.p()]).all()
    assert not has_spread(x, y)
    assert math.isnan(estimates.d_z(x, y))


def test_an_arm_whose_seeds_all_agree_is_not_taken_as_known_exactly():
    x, y = np.full(5, 0.1), np.array([0.2, 0.3, 0.4, 0.5, 0.6])
    for found in (intervals.unpaired(x, y), intervals.unpaired(y, x)):
        assert abs(found.centre) == pytest.approx(0.3)
        assert np.isnan([*found.interval(0.05), found.p()]).all()
    # Paired by seed, only the other arm varies.
    assert intervals.paired(x, y).p() == pytest.approx(stats.ttest_1samp(y, 0.1).pvalue)
    assert math.isnan(estimates.correlation(x, y))
    assert math.isnan(intervals.unpaired(x, x).p())
    assert math.isnan(estimates.hedges_g(x, x))


# -- without the normal distribution ---------------------------------------------------------------


def test_darwins_plants_give_fishers_count():
    # Fisher found 1,726 of 32,768 sign flips to be as extreme: 5.267 %.
    p, smallest = resampling.sign_flip(DARWIN, rng())
    assert p == 1726 / 32768
    assert smallest == 1 / 2**14


def test_sums_that_tie_are_found_to_tie_whatever_their_last_bits():
    # Of 359 images, 13, 8, 14 and 8 are wrong, against 12, 10, 13 and 7: differences 1, -2, 1, 1.
    # Whatever the signs, their sum is odd, so at least as far from 0 as the observed 1.
    x, y = np.array([13, 8, 14, 8]) / 359, np.array([12, 10, 13, 7]) / 359
    p, smallest = resampling.sign_flip(differences(x, y), rng(), rounding(x, y))
    assert (p, smallest) == (1, 0.125)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9))
def test_sign_flips_agree_with_enumerating_them_one_by_one(values):
    d = np.array(values, dtype=float) / 359
    assert resampling.sign_flip(d, rng())[0] == pytest.approx(reference.sign_flip(d.tolist()))


@given(ANY, ROWS, st.integers(2, 8))
def test_sign_flips_agree_with_scipys_permutation_test(seed, rows, n):
    d = drawn(seed, rows, n)
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", axis=-1)
    assert resampling.sign_flip(d, rng())[0] == pytest.approx(test.pvalue)


def test_sampled_sign_flips_come_near_the_exact_p():
    # More than 2^16 flips: eight differences, and nine zeros whose signs do not matter.
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


@given(ANY, ROWS, st.integers(3, 30))
def test_wilcoxon_without_ties_is_scipys_exact_test(seed, rows, n):
    d = drawn(seed, rows, n)
    expected = stats.wilcoxon(d, axis=-1, method="exact").pvalue
    assert resampling.wilcoxon(d, rng())[0] == pytest.approx(expected)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=7).filter(any))
def test_wilcoxon_with_ties_agrees_with_scipys_exact_permutations(values):
    d = np.array(values, dtype=float)
    expected = stats.wilcoxon(d, method=stats.PermutationMethod()).pvalue
    p, smallest = resampling.wilcoxon(d, rng())
    assert p == pytest.approx(expected)
    assert smallest == 2.0 ** (1 - np.count_nonzero(d))


def test_wilcoxon_on_zeros_alone_has_p_of_one():
    for n in (4, 20):
        assert resampling.wilcoxon(np.zeros(n), rng()) == (1, 1)


def test_differences_by_the_same_number_of_images_tie():
    x, y = np.array([0.3, 0.2, 0.8]), np.array([0.2, 0.1, 0.7])
    assert len(set((x - y).tolist())) > 1
    assert len(set(differences(x, y).tolist())) == 1
    assert differences(x, y) == pytest.approx([0.1] * 3)
    assert differences(x, x).tolist() == [0, 0, 0]


def test_bca_agrees_with_scipy_given_the_same_generator():
    x = np.random.default_rng(1).lognormal(size=(2, 25))
    low, high = resampling.bca(x, None, rng())
    for row in range(2):  # every row is resampled at the same indices
        found = stats.bootstrap((x[row],), np.mean, axis=-1, rng=rng(), method="BCa")
        assert (low[row], high[row]) == pytest.approx(found.confidence_interval, rel=1e-9)


def test_bca_of_two_arms_agrees_with_scipy():
    x, y = np.random.default_rng(1).lognormal(size=25), np.random.default_rng(2).lognormal(size=20)

    def difference(a, b, axis):
        return a.mean(axis) - b.mean(axis)

    found = stats.bootstrap((x, y), difference, rng=rng(), method="BCa")
    assert resampling.bca(x, y, rng()) == pytest.approx(found.confidence_interval, rel=1e-9)


def test_bca_copes_with_a_test_set_on_which_nearly_all_seeds_tie():
    low, high = resampling.bca(np.array([0.01] * 19 + [0.02]), None, rng())
    assert low == pytest.approx(0.01)
    assert 0.01 < high < 0.02


def test_bca_is_nan_below_twenty_seeds_or_without_spread():
    assert np.isnan(resampling.bca(drawn(0, 19), None, rng())).all()
    assert np.isnan(resampling.bca(drawn(0, 30), drawn(1, 19), rng())).all()
    assert np.isnan(resampling.bca(np.full(20, 0.1), None, rng())).all()


# -- sizes of effects ------------------------------------------------------------------------------


def test_d_z_of_the_sleep_data_is_their_t_over_root_n():
    # Lakens 2013, equation 7: d_z = t / √n.
    t = stats.ttest_rel(LAEVO, DEXTRO).statistic
    assert estimates.d_z(LAEVO, DEXTRO) == pytest.approx(t / math.sqrt(10))


@given(ANY, SEEDS, SEEDS)
def test_hedges_g_agrees_with_statsmodels(seed, n, m):
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


def test_an_arm_below_every_run_of_the_baseline_improves_with_probability_one():
    assert estimates.improvement(np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])) == 1
    assert estimates.improvement(np.array([0.1, 0.2]), np.array([0.1, 0.2])) == 0.5


@given(ANY, st.integers(3, 12))
def test_the_correlation_agrees_with_numpy(seed, n):
    x, y = drawn(seed, 2, n)
    assert estimates.correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_two_seeds_have_no_correlation():
    assert math.isnan(estimates.correlation(drawn(0, 2), drawn(1, 2)))


# -- claims ----------------------------------------------------------------------------------------


def test_a_claim_with_faults_reports_them_all():
    with pytest.raises(AblateError) as caught:
        Claim("dropout", "test/error", "lowr", margin=0)
    assert "did you mean 'lower'" in caught.value.faults[0]
    assert "> 0" in caught.value.faults[1]


# -- spread ---------------------------------------------------------------------------------------


def test_the_pooled_deviation_by_hand():
    # Variances 1 at 2 degrees of freedom and 4 at 1: √((2 · 1 + 1 · 4) / 3).
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.0, math.sqrt(8)])
    assert pooled_sd(x, y) == pytest.approx(math.sqrt(2))


# -- by simulation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
@pytest.mark.parametrize("n", [3, 5, 10, 30])
def test_t_intervals_of_normal_errors_have_their_stated_coverage(n, alpha):
    low, high = intervals.mean(np.random.default_rng(n).normal(size=(FEW, n))).interval(alpha)
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(1 - alpha, abs=0.012)


def test_t_intervals_of_skewed_errors_cover_too_little():
    x = rng().lognormal(size=(FEW, 5))
    low, high = intervals.mean(x).interval(0.05)
    assert ((low <= math.exp(0.5)) & (high >= math.exp(0.5))).mean() < 0.9


@pytest.mark.parametrize(("n", "m"), [(3, 3), (3, 12), (5, 30), (10, 10)])
@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_intervals_of_two_components_cover_at_least_what_they_state(n, m, ratio):
    generator = rng()
    x, y = generator.normal(size=(FEW, n)), ratio * generator.normal(size=(FEW, m))
    low, high = intervals.unpaired(x, y).interval(0.05)
    assert ((low <= 0) & (high >= 0)).mean() >= 0.95 - 0.012


def test_intervals_of_a_family_hold_together():
    base = rng().normal(size=(FEW, 1, 6))
    arms = base + np.random.default_rng(1).normal(size=(FEW, 4, 6))
    low, high = intervals.paired(arms, np.broadcast_to(base, arms.shape)).interval(0.05 / 4)
    assert ((low > 0) | (high < 0)).any(-1).mean() <= 0.05 + 0.012


def test_bca_covers_too_little_at_five_seeds():
    low, high = resampling.bca(drawn(0, 400, 5), None, rng(), fewest=2)
    assert ((low <= 0) & (high >= 0)).mean() < 0.92
