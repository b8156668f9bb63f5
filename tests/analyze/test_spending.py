"""Levels of interim looks at a growing study: published boundaries, alpha spent, alpha left."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.analyze.looks import look_at, planned_only
from ablate.analyze.spending import level_at, levels_of, spent
from ablate.study.story import Story
from simulations import looks
from tests.reference import passed


def bounds(times, alpha=0.05):
    return [stats.norm.isf(level / 2) for level in levels_of(tuple(times), alpha)]


# Reboussin, DeMets, Kim and Lan 2000, Controlled Clinical Trials 21(3), and the R package ldbounds.
@pytest.mark.parametrize(
    ("times", "published"),
    [
        ([0.2, 0.4, 0.6, 0.8, 1.0], [4.877, 3.357, 2.680, 2.290, 2.031]),
        ([0.5, 1.0], [2.963, 1.969]),
        ([1 / 3, 2 / 3, 1.0], [3.710, 2.511, 1.993]),
        ([0.25, 0.5, 0.75, 1.0], [4.333, 2.963, 2.359, 2.014]),
    ],
)
def test_bounds_agree_with_published_ones(times, published):
    assert bounds(times) == pytest.approx(published, abs=6e-4)


@settings(max_examples=12)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3, unique=True),
    st.sampled_from([0.05, 0.05 / 3]),
)
def test_looks_spend_what_the_spending_function_says(moments, alpha):
    times = [moment / 20 for moment in sorted(moments)]
    found = bounds(times, alpha)
    for count in range(1, len(times) + 1):
        used = spent(times[count - 1], alpha)
        assert passed(times[:count], found[:count]) == pytest.approx(used, abs=1e-5)


def test_without_earlier_looks_all_of_alpha_is_left():
    assert spent(1.0, 0.05) == pytest.approx(0.05)
    for alpha in (0.05, 0.005):
        assert level_at([], 1.0, alpha) == pytest.approx(alpha, rel=1e-9)
        assert level_at([0.0], 1.0, alpha) == pytest.approx(alpha, rel=1e-9)


def test_earlier_looks_cost_the_last_one_a_little():
    levels = [level_at(before, 1.0, 0.05) for before in ([], [0.5], [0.5, 0.9])]
    assert levels[0] > levels[1] > levels[2] > 0.035


def test_looking_again_at_the_same_runs_spends_nothing():
    once = level_at([0.5], 1.0, 0.05)
    assert level_at([0.5, 0.5, 1.0, 1.0], 1.0, 0.05) == once
    assert level_at([0.5, 1.0], 0.5, 0.05) == level_at([], 0.5, 0.05)
    assert level_at([0.5, 1.0], 0.8, 0.05) == level_at([], 0.5, 0.05)


def test_seeds_beyond_the_planned_end_keep_the_level_of_the_end():
    assert level_at([0.5, 1.0], 1.5, 0.05) == level_at([0.5], 1.0, 0.05)


def test_many_looks_with_tiny_levels_are_computed():
    times = tuple(n / 60 for n in range(1, 61))
    levels = np.asarray(levels_of(times, 0.05 / 100))
    assert (levels > 0).all()
    assert (np.diff(levels) > 0).all()
    assert levels.max() < 0.05 / 100


def test_p_values_of_a_simulation_agree_with_scipy():
    drawn = np.random.default_rng(0).normal(1, 2, (3, 2, 12))
    found = looks.p_values(drawn, [2, 5, 12])
    for at, n in enumerate((2, 5, 12)):
        expected = stats.ttest_1samp(drawn[..., :n], 0, axis=-1).pvalue
        np.testing.assert_allclose(found[..., at], expected, rtol=1e-9)


def test_looks_rarely_find_an_effect_where_there_is_none():
    plan, studies = tuple(range(5, 31, 5)), 20_000
    found = looks.false(plan, 1, studies)
    assert found["spent"] <= 0.055
    assert found["nominal"] > 0.12
    assert found["spent"] > 0.05 - 3 * math.sqrt(0.05 * 0.95 / studies)


# -- for a claim -----------------------------------------------------------------------------------


def frame(**arms):
    rows = [(f"{arm}{seed}", arm, seed) for arm, seeds in arms.items() for seed in seeds]
    return pd.DataFrame(rows, columns=["key", "arm", "seed"])


def keys(**arms):
    return frozenset(frame(**arms)["key"])


RUNS = frame(a=range(6), b=range(6))
PLANNED = {"a": (0, 1, 2, 3), "b": (0, 1, 2, 3)}


@pytest.mark.parametrize(
    ("looks", "level", "word"),
    [
        ([keys(a=range(4), b=range(4))], level_at([], 1.0, 0.05), "final"),
        ([keys(a=range(2), b=range(2))], level_at([], 0.5, 0.05), "interim"),
        ([keys(a=range(4), b=range(2))], level_at([], 0.5, 0.05), "interim"),
        ([keys(a=[0, 1], b=[0, 1]), keys(a=range(4), b=range(4))], level_at([0.5], 1, 0.05),
         "final"),
        ([keys(a=range(4), b=range(4)), keys(a=range(6), b=range(6))], 0.05, "extended"),
    ],
    ids=["the end alone", "halfway", "one arm ahead", "the end after a look", "more seeds"],
)  # fmt: skip
def test_a_look_at_a_claim_is_timed_by_the_seeds_that_both_arms_have(looks, level, word):
    story = Story(looks=tuple(looks), shown=looks[-1], planned=PLANNED)
    found = look_at(story, RUNS, "a", "b", 0.05)
    assert (found.level, found.word) == (pytest.approx(level), word)


def test_arms_without_shared_seeds_are_timed_by_the_variance_of_a_difference():
    runs = frame(a=range(4), b=range(10, 18))
    shown = keys(a=range(2), b=range(10, 18))
    planned = {"a": tuple(range(4)), "b": tuple(range(10, 18))}
    story = Story(looks=(shown,), shown=shown, planned=planned)
    assert look_at(story, runs, "a", "b", 0.05).time == pytest.approx(
        (1 / 4 + 1 / 8) / (1 / 2 + 1 / 8)
    )


def test_a_look_without_runs_of_an_arm_has_no_level():
    story = Story(looks=(keys(b=range(4)),), shown=keys(b=range(4)), planned=PLANNED)
    found = look_at(story, RUNS, "a", "b", 0.05)
    assert (found.level, found.word, found.time) == (0, "interim", 0)


def test_without_a_plan_nothing_is_spent():
    assert look_at(Story(), RUNS, "a", "b", 0.05).level == 0.05
    assert look_at(Story(is_interim=True), RUNS, "a", "b", 0.05).word == "interim"


def test_verdicts_use_only_planned_seeds():
    kept = planned_only(RUNS, Story(planned={"a": (0, 1)}))
    assert [(one.arm, one.seed) for one in kept.itertuples()][:3] == [("a", 0), ("a", 1), ("b", 0)]
    assert len(kept) == 8
