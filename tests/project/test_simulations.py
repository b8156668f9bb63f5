"""Parts of the simulations: the intervals tried, and when a verdict counts as false."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulations import verdicts as simulated
from simulations.methods import METHODS, bootstrap_t, flips, hall, johnson, welch
from simulations.scenarios import Measured, of_laws, published
from simulations.verdicts import false_descriptions, false_verdicts
from simulations.which_interval import judged, taken, tried
from tests import reference

ANY = st.integers(0, 2**32 - 1)
NO_RNG = None


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def rng():
    return np.random.default_rng(0)


# -- the methods -----------------------------------------------------------------------------------


@given(ANY, st.integers(3, 9), st.integers(3, 9))
def test_welchs_interval_agrees_with_scipy(seed, n, m):
    x, y = drawn(seed, n), drawn(seed + 1, m)
    found = welch(x, y, False, [0.05], NO_RNG)
    expected = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert (found[0][0], found[1][0]) == pytest.approx((expected.low, expected.high))


def test_without_skewness_corrected_intervals_equal_students():
    x = np.array([-3.0, -1, 0, 1, 3])
    student = welch(x, np.zeros(5), True, [0.05], NO_RNG)
    for corrected in (johnson, hall):
        found = corrected(x, np.zeros(5), True, [0.05], NO_RNG)
        assert np.allclose(found, student)


def test_johnsons_shift_by_hand():
    # 0, 0, 0, 4: mean 1, s² = 4, third cumulant 4 · 24 / 6 = 16; 16 / (6 · 4 · 4) = 1/6.
    x = np.array([0.0, 0, 0, 4])
    low, high = johnson(x, np.zeros(4), True, [0.05], NO_RNG)
    assert (low[0] + high[0]) / 2 == pytest.approx(1 + 1 / 6)


@given(ANY, st.integers(4, 20), st.sampled_from([0.05, 0.005]))
def test_halls_interval_ends_where_his_cubic_of_t_reaches_the_quantile(seed, n, alpha):
    x = np.exp(drawn(seed, n))
    s = x.std(ddof=1)
    k = n / ((n - 1) * (n - 2)) * ((x - x.mean()) ** 3).sum() / s**3 / np.sqrt(n)
    ends = hall(x, np.zeros(n), True, [alpha], NO_RNG)
    for end, side in zip(ends, (1, -1), strict=True):
        t = (x.mean() - end[0]) / (s / np.sqrt(n))
        cubic = t + k * t**2 / 3 + k**2 * t**3 / 27 + k / 6
        assert cubic == pytest.approx(side * stats.t.ppf(1 - alpha / 2, n - 1))


@settings(max_examples=20)
@given(ANY)
def test_flips_bound_the_shifts_that_the_sign_flip_test_does_not_reject(seed):
    d = drawn(seed, 7) + 1
    low, high = (end[0] for end in flips(d, np.zeros(7), True, [0.05], rng()))
    for inside, outside in ((low + 1e-3, low - 1e-3), (high - 1e-3, high + 1e-3)):
        assert reference.sign_flip((d - inside).tolist()) > 0.05
        assert reference.sign_flip((d - outside).tolist()) <= 0.05


def test_unpaired_flips_bound_the_shifts_that_permutation_does_not_reject():
    x, y = drawn(3, 5) + 1, drawn(4, 6)
    low, high = (end[0] for end in flips(x, y, False, [0.05], rng()))

    def p(shift):
        tests = [
            stats.permutation_test((x - shift, y), mean_difference, alternative=side).pvalue
            for side in ("less", "greater")
        ]
        return 2 * min(tests)

    assert min(p(low + 1e-3), p(high - 1e-3)) > 0.05
    assert max(p(low - 1e-3), p(high + 1e-3)) <= 0.05


def mean_difference(a, b, axis=-1):
    return a.mean(axis) - b.mean(axis)


def test_few_pairs_have_no_finite_interval_by_flips_or_bootstrap_t():
    assert np.isinf(flips(drawn(0, 5), np.zeros(5), True, [0.05], rng())).all()
    assert np.isinf(bootstrap_t(drawn(0, 3), np.zeros(3), True, [0.05], rng())).all()


def test_bootstrap_t_of_normal_values_is_close_to_students():
    x = drawn(5, 200)
    student = np.array(welch(x, np.zeros(200), True, [0.05], NO_RNG))
    found = np.array(bootstrap_t(x, np.zeros(200), True, [0.05], rng()))
    assert found == pytest.approx(student, abs=0.02)


# -- the count -------------------------------------------------------------------------------------


def test_t_intervals_keep_their_error_rate_on_normal_data():
    scenario = next(s for s in of_laws() if s.paired and s.n == 10)
    (one, three, ten) = tried(scenario, METHODS["t, Banerjee"], 4000)
    assert [row["claims"] for row in (one, three, ten)] == [1, 3, 10]
    for row in (one, three, ten):
        assert row["false"] == pytest.approx(5, abs=1.2)
    assert one["missed"] == one["false"]
    assert ten["missed"] == pytest.approx(0.5, abs=0.2)


def test_the_rule_takes_the_best_worst_case_of_methods_that_pass_on_normal_data():
    import pandas as pd

    def rows(method, normal, worst, length):
        case = {"paired": True, "n": 3, "n_baseline": 3, "claims": 1, "method": method}
        return [
            case | {"kind": "normal", "false": normal, "length": length},
            case | {"kind": "skewed", "false": worst, "length": length},
        ]

    found = [
        *rows("first", 5.1, 18.0, 2.0),
        *rows("as good and longer", 5.0, 17.9, 2.1),
        *rows("worse", 5.0, 25.0, 1.0),
        *rows("not kept to", 5.6, 5.0, 1.0),
        *rows("infinite", 4.0, 5.0, np.inf),
        *rows("Hall outside t", 4.0, 9.0, 3.0),
    ]
    table = judged(pd.DataFrame(found))
    assert table["allowed"].tolist() == [True, True, True, False, False, True]
    assert taken(table, 2000) == "first"


def test_there_are_enough_published_pairs():
    pairs = published()
    assert len(pairs) > 50
    assert all(isinstance(pair, Measured) and len(pair.x) == len(pair.y) >= 10 for pair in pairs)


# -- what is false ---------------------------------------------------------------------------------

AT = simulated.DELTA


@pytest.mark.parametrize(
    ("word", "direction", "truth", "low", "high", "false"),
    [
        ("supported", "lower", -1.01 * AT, -5, -3, False),
        ("supported", "lower", -AT, -5, -3, True),  # not by more than δ
        ("supported", "higher", -3 * AT, 3, 5, True),
        ("supported, size open", "higher", 0, 1, 5, True),
        ("supported, size open", "higher", 0.1, 1, 5, False),
        ("supported", "differs", -3 * AT, 3, 5, True),  # on the other side
        ("supported", "differs", 3 * AT, 3, 5, False),
        ("too small to matter", "lower", AT, -1, 1, True),
        ("too small to matter", "lower", 0, -1, 1, False),
        ("too small to matter", "lower", 0, 0.5, 1, True),  # its sign is stated
        ("supported", "equivalent", 0.9 * AT, -1, 1, False),
        ("supported", "equivalent", -AT, -1, 1, True),
        ("refuted", "equivalent", 1.1 * AT, 3, 5, False),
        ("refuted", "equivalent", AT, 3, 5, True),
        ("refuted", "lower", AT, 3, 5, True),
        ("refuted, size open", "lower", 0, 1, 5, True),
        ("refuted, size open", "lower", 0.1, 1, 5, False),
        ("open", "lower", AT, -1, 5, False),
    ],
)
def test_a_verdict_is_false_if_what_it_states_is_false(word, direction, truth, low, high, false):
    low, high = np.array([[low]]), np.array([[high]])
    found = false_verdicts(np.array([[word]]), direction, np.array([truth]), low, high)
    assert found.tolist() == [[false]]


@pytest.mark.parametrize(
    ("word", "truth", "false"),
    [
        ("lower by more than δ", -AT, True),
        ("lower by less than δ", -AT, True),
        ("lower by less than δ", -0.5, False),
        ("lower", 0, True),
        ("within ±δ", 0, False),
        ("within ±δ", AT, True),
        ("higher by more than δ", 1.1 * AT, False),
        ("not told apart", AT, False),
    ],
)
def test_a_description_is_false_if_what_it_states_is_false(word, truth, false):
    found = false_descriptions(np.array([[word]]), np.array([truth]))
    assert found.tolist() == [[false]]


@pytest.mark.parametrize("truth", [0.0, -1.0, None])
def test_few_studies_say_something_false(truth):
    for row in simulated.counted("10 and 5 pairs in turn", truth, 1000):
        assert row["false"] <= 5 + 3 * 0.69  # 0.69 points: the standard error with 1,000 studies
