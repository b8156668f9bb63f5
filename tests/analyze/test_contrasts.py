"""Contrasts, summaries and notes: from runs to what is said about them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from ablate.analyze import caveats, contrasts, frames, summaries, verdicts
from ablate.analyze.looks import ClaimLook
from ablate.errors import AblateError
from ablate.study.claim import Claim, Compared
from tests import reference
from tests.analyze.test_frames import write_run, write_sweep

BASE = [0.10, 0.12, 0.11, 0.13, 0.10, 0.12]
LESS = [0.08, 0.11, 0.08, 0.10, 0.09, 0.08]
MORE = [0.15, 0.16, 0.14, 0.19, 0.15, 0.17]


def table(arms, status=None, first_seeds=None, **metrics):
    """Make a frame of runs from each arm's test errors by seed; None is a run that failed."""
    rows = []
    for arm, values in arms.items():
        for i, value in enumerate(values):
            seed = i + (first_seeds or {}).get(arm, 0)
            named = {"arm": arm, "seed": seed, "replicate": str(seed), "key": f"{arm}{seed}"}
            ended = "failed" if value is None else (status or {}).get((arm, seed), "finished")
            more = {name: numbers[arm][i] for name, numbers in metrics.items()}
            rows.append(named | {"status": ended, "test/error": value, "test_images": 400} | more)
    return pd.DataFrame(rows).astype({"test/error": "float64"})


def compared(runs, **asked):
    found = contrasts.contrasts(runs, np.random.default_rng(0), **asked)
    return found.set_index(["arm", "metric"])


def unpaired_p(x, y):
    """Bisect for the level at which Banerjee's interval just reaches 0."""
    parts = [np.var(side, ddof=1) / len(side) for side in (x, y)]
    low, high = 1e-12, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        quantiles = [stats.t.isf(middle / 2, len(side) - 1) for side in (x, y)]
        reaches = reference.half_of_two(parts, quantiles) >= abs(np.mean(x) - np.mean(y))
        low, high = (middle, high) if reaches else (low, middle)
    return low


def only(runs, **asked):
    """Compare the two arms of a frame on the primary metric."""
    found = compared(runs, **asked)
    return found[found["primary"]].iloc[0]


# -- what is compared with what --------------------------------------------------------------------


def test_arms_that_share_seeds_are_compared_pair_by_pair():
    row = only(table({"base": BASE, "less": LESS}))
    test = stats.ttest_rel(LESS, BASE)
    assert row["paired"]
    assert row["p"] == pytest.approx(test.pvalue)
    interval = test.confidence_interval()
    ends = pytest.approx((interval.low, interval.high))
    assert (row["ci_low"], row["ci_high"]) == (row["low"], row["high"]) == ends
    assert row["delta"] == pytest.approx(np.mean(LESS) - np.mean(BASE))
    assert row["delta"] == pytest.approx(row["mean"] - row["baseline_mean"])
    assert row["p_unpaired"] == pytest.approx(unpaired_p(LESS, BASE), rel=1e-6)
    assert row["correlation"] == pytest.approx(np.corrcoef(LESS, BASE)[0, 1])
    assert row["improvement"] == pytest.approx(reference.improvement(LESS, BASE))
    assert row["p_permutation"] == pytest.approx(
        reference.sign_flip([a - b for a, b in zip(LESS, BASE, strict=True)])
    )
    assert row["p_permutation_min"] == row["p_wilcoxon_min"] == 2**-5
    assert (row["n"], row["n_baseline"]) == (6, 6)


def test_pairing_does_not_depend_on_the_order_of_runs():
    runs = table({"base": BASE, "less": LESS})
    mixed = runs.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(
        only(mixed, baseline="base"), only(runs, baseline="base"), check_exact=False
    )


def test_without_shared_seeds_the_errors_of_arm_and_baseline_add_up():
    row = only(table({"base": BASE, "less": LESS[:4]}, first_seeds={"less": 100}))
    assert not row["paired"]
    assert (row["n"], row["n_baseline"]) == (4, 6)
    assert row["p"] == row["p_unpaired"] == pytest.approx(unpaired_p(LESS[:4], BASE), rel=1e-6)
    parts = [np.var(LESS[:4], ddof=1) / 4, np.var(BASE, ddof=1) / 6]
    half = reference.half_of_two(parts, [3.182446, 2.570582])  # Student's t at 3 and 5 degrees
    assert row["high"] - row["delta"] == pytest.approx(half, rel=1e-6)
    assert row["delta"] - row["low"] == pytest.approx(half, rel=1e-6)
    assert row[["correlation", "d_z", "p_permutation", "p_wilcoxon"]].isna().all()


def test_arms_that_share_few_seeds_are_not_paired_on_those():
    assert not only(table({"base": BASE, "less": LESS}, first_seeds={"less": 4}))["paired"]
    assert only(table({"base": BASE, "less": LESS}, first_seeds={"less": 3}))["n"] == 3


def test_a_pair_is_left_out_if_one_run_failed_or_was_interrupted():
    runs = table({"base": BASE, "less": [*LESS[:4], None, 0.0]}, {("less", 5): "interrupted"})
    row = only(runs)
    assert row["n"] == 4
    assert row["p"] == pytest.approx(stats.ttest_rel(LESS[:4], BASE[:4]).pvalue)
    assert row["baseline_mean"] == pytest.approx(np.mean(BASE[:4]))


def test_an_arm_with_a_seed_twice_is_not_paired():
    runs = table({"base": BASE, "less": LESS})
    assert not only(pd.concat([runs, runs.iloc[-1:]]))["paired"]


def test_one_seed_gives_a_difference_and_no_verdict():
    row = only(table({"base": [0.2], "less": [0.1]}), margin=0.01)
    assert row["delta"] == pytest.approx(-0.1)
    unknown = ["low", "high", "ci_low", "ci_high", "p", "p_adjusted", "confidence_within"]
    assert row[unknown].isna().all()
    assert pd.isna(row["verdict"])
    assert row["description"] == "not told apart"
    (claimed,) = judged(table({"base": [0.2], "less": [0.1]}), Claim("less", direction="lower"))
    assert claimed["verdict"] == "open"


def test_an_arm_without_finished_runs_has_a_row_without_numbers():
    found = compared(table({"base": BASE, "less": LESS, "gone": [None] * 6}))
    gone = found.loc["gone", "test/error"]
    assert gone["n"] == 0
    assert math.isnan(gone["delta"])
    assert gone["description"] == "not told apart"
    assert found.loc["less", "test/error"]["family_size"] == 2


def test_a_sweep_without_finished_runs_has_rows_for_the_primary_metric():
    found = compared(table({"base": [None] * 3, "less": [None] * 3}))
    assert list(found.index) == [("less", "test/error")]


def test_a_single_arm_has_no_contrast():
    found = contrasts.contrasts(table({"base": BASE}), np.random.default_rng(0))
    assert len(found) == 0
    assert list(found) == list(contrasts.COLUMNS)


def test_the_baseline_is_the_first_arm_or_the_one_named():
    runs = table({"base": BASE, "less": LESS})
    assert contrasts.baseline_of(runs) == "base"
    assert only(runs, baseline="less")["baseline"] == "less"
    with pytest.raises(AblateError, match="did you mean 'less'"):
        contrasts.contrasts(runs, np.random.default_rng(0), baseline="lss")


def test_every_recorded_metric_is_compared_and_a_wrong_one_named():
    loss = {"base": [0.5, 0.6, 0.7, 0.5, 0.6, 0.6], "less": [0.4, 0.6, 0.6, 0.5, 0.5, 0.4]}
    runs = table({"base": BASE, "less": LESS}, **{"test/loss": loss})
    found = compared(runs)
    assert list(found.index.get_level_values("metric")) == ["test/error", "test/loss"]
    expected = stats.ttest_rel(loss["less"], loss["base"]).pvalue
    assert found.loc["less", "test/loss"]["p"] == pytest.approx(expected)
    with pytest.raises(AblateError, match="did you mean 'test/loss'"):
        compared(runs, primary="test/los")


# -- families and verdicts -------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [1, 2, 3])
def test_the_deciding_interval_is_scipys_at_0_05_divided_among_the_arms(arms):
    values = dict(list({"less": LESS, "more": MORE, "same": BASE[::-1]}.items())[:arms])
    found = compared(table({"base": BASE} | values)).droplevel("metric")
    assert set(found["family"]) == {"descriptions of test/error"}
    assert set(found["family_size"]) == {arms}
    assert set(found["alpha"]) == {0.05 / arms}
    for arm, mine in values.items():
        row, test = found.loc[arm], stats.ttest_rel(mine, BASE)
        wide = test.confidence_interval(1 - 0.05 / arms)
        assert (row["low"], row["high"]) == pytest.approx((wide.low, wide.high))
        alone = test.confidence_interval(0.95)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((alone.low, alone.high))
        assert row["p_adjusted"] == pytest.approx(min(1, arms * test.pvalue))


def test_confidence_below_within_and_above_the_margin_agrees_with_scipy():
    row = only(table({"base": BASE, "less": LESS}), margin=0.01)
    d = np.array(LESS) - BASE
    law = stats.t(5, d.mean(), d.std(ddof=1) / math.sqrt(6))
    shares = [law.cdf(-0.01), law.cdf(0.01) - law.cdf(-0.01), law.sf(0.01)]
    names = ["confidence_lower", "confidence_within", "confidence_higher"]
    assert row[names].tolist() == pytest.approx(shares)
    without = only(table({"base": BASE, "less": LESS}))
    assert without[names].tolist() == pytest.approx([law.cdf(0), 0, law.sf(0)])


def test_differences_that_nobody_claimed_are_described_and_not_judged():
    found = compared(table({"base": BASE, "less": LESS, "more": MORE})).droplevel("metric")
    assert set(found["direction"]) == {"differs"}
    assert found["verdict"].isna().all()
    assert found["description"].to_dict() == {"less": "lower", "more": "higher"}
    assert found["change"].to_dict() == {"less": "better", "more": "worse"}


@pytest.mark.parametrize(
    ("arm", "margin", "description"),
    [
        ("less", 0.01, "lower by more than δ"),
        ("less", 0.02, "lower"),
        ("less", 0.1, "lower by less than δ"),
        ("more", 0.01, "higher by more than δ"),
        ("near", 0.01, "within ±δ"),
        ("near", 0.0005, "not told apart"),
    ],
)
def test_a_difference_is_described_by_its_side_and_its_size(arm, margin, description):
    values = {"less": LESS, "more": MORE, "near": NEAR}[arm]
    row = only(table({"base": BASE, arm: values}), margin=margin)
    assert row["description"] == description
    assert pd.isna(row["verdict"])


def test_claims_are_one_family_and_descriptions_another():
    runs = table({"base": BASE, "less": LESS, "more": MORE})
    found = compared(runs, claims=[Claim("more", direction="lower", margin=0.01)])
    claimed, other = found.loc["more", "test/error"], found.loc["less", "test/error"]
    assert claimed["verdict"] == "refuted"
    assert claimed["p_adjusted"] == claimed["p"]
    assert (claimed["family"], other["family"]) == ("claims", "descriptions of test/error")
    assert (claimed["family_size"], other["family_size"]) == (1, 1)
    assert (claimed["margin"], claimed["direction"]) == (0.01, "lower")
    assert claimed["description"] == "higher by more than δ"
    assert pd.isna(other["verdict"])


def test_claims_that_cannot_be_judged_count_only_in_the_family_of_claims():
    runs = table({"base": BASE, "less": LESS, "more": MORE})
    found = compared(runs, claims=[Claim("more", direction="lower")], unjudged=3)
    claimed, other = found.loc["more", "test/error"], found.loc["less", "test/error"]
    assert (claimed["family_size"], claimed["alpha"]) == (4, 0.05 / 4)
    assert (other["family_size"], other["alpha"]) == (1, 0.05)
    wide = stats.ttest_rel(MORE, BASE).confidence_interval(1 - 0.05 / 4)
    assert (claimed["low"], claimed["high"]) == pytest.approx((wide.low, wide.high))


def test_effects_of_factors_count_only_among_descriptions_of_the_primary_metric():
    loss = {"base": LESS, "less": MORE, "more": BASE}
    runs = table({"base": BASE, "less": LESS, "more": MORE}, **{"test/loss": loss})
    found = compared(runs, claims=[Claim("more", direction="lower")], effects=5)
    sizes = found["family_size"].to_dict()
    assert sizes == {
        ("less", "test/error"): 6,
        ("more", "test/error"): 1,
        ("less", "test/loss"): 2,
        ("more", "test/loss"): 2,
    }
    assert found["alpha"].to_dict() == {where: 0.05 / size for where, size in sizes.items()}


def test_interim_looks_cost_only_the_claims():
    runs = table({"base": BASE, "less": LESS, "more": MORE})
    claims = [Claim("more", direction="lower")]

    def tenth(what, alpha):
        assert what == Compared("more", "test/error", "base", "test/error")
        return ClaimLook(alpha / 10, "interim", 0.5)

    found = compared(runs, claims=claims, unjudged=1, look=tenth)
    claimed, other = found.loc["more", "test/error"], found.loc["less", "test/error"]
    assert (claimed["alpha"], other["alpha"]) == (0.025 / 10, 0.05)
    assert (claimed["look"], other["look"]) == ("interim", "final")
    wide = stats.ttest_rel(MORE, BASE).confidence_interval(1 - 0.0025)
    assert (claimed["low"], claimed["high"]) == pytest.approx((wide.low, wide.high))
    assert claimed["p_adjusted"] == 2 * claimed["p"], "p is corrected for the family, not for looks"


def test_impossible_claims_are_all_reported_in_one_error():
    runs = table({"base": BASE, "less": LESS})
    with pytest.raises(AblateError) as caught:
        compared(runs, claims=[Claim("lss"), Claim("base"), Claim("less"), Claim("less")])
    assert len(caught.value.faults) == 3


def judged(runs, *claims, **asked):
    """Return the rows of the claims, in the order given."""
    found = contrasts.contrasts(runs, np.random.default_rng(0), claims=claims, **asked)
    rows = found[found["family"] == "claims"].to_dict("records")
    sides = ("arm", "metric", "baseline", "against_metric", "statistic")
    by_sides = {tuple(row[name] for name in sides): row for row in rows}
    return [by_sides[claim.compared("base")] for claim in claims]


def test_a_claim_may_be_against_an_arm_other_than_the_baseline():
    runs = table({"base": BASE, "less": LESS, "more": MORE})
    (row,) = judged(runs, Claim("less", direction="lower", margin=0.01, against="more"))
    assert row["delta"] == pytest.approx(np.mean(LESS) - np.mean(MORE))
    assert row["p"] == pytest.approx(stats.ttest_rel(LESS, MORE).pvalue)
    assert (row["baseline"], row["baseline_mean"]) == ("more", pytest.approx(np.mean(MORE)))
    assert row["verdict"] == "supported"
    assert row["seeds_for_power"] > 1


def test_a_claim_about_the_baseline_itself_does_not_change_the_other_rows():
    runs = table({"base": BASE, "less": LESS, "more": MORE})
    claim = Claim("base", direction="lower", against="more")
    found = contrasts.contrasts(runs, np.random.default_rng(0), claims=[claim])
    assert found["arm"].tolist() == ["less", "more", "base"]
    assert found["primary"].tolist() == [True, True, False]
    assert found["family"].tolist() == ["descriptions of test/error"] * 2 + ["claims"]
    plain = contrasts.to_baseline(found, "base")
    assert plain["arm"].tolist() == ["less", "more"]
    assert set(plain["baseline"]) == {"base"}
    (explicit,), (implied,) = (judged(runs, Claim("less", against=b)) for b in ("base", None))
    assert str(explicit) == str(implied), (
        "claims are against the baseline unless they say otherwise"
    )


def test_a_claim_may_compare_two_metrics_of_one_arm_seed_by_seed():
    sampled = {"base": [None, *BASE[1:]], "less": [0.1, 0.1, 0.1, 0.12, 0.1, None]}
    runs = table({"base": BASE, "less": LESS}, **{"evaluate/error": sampled})
    claim = Claim("less", "evaluate/error", "higher", 0.001, against_metric="test/error")
    across = Claim("less", "test/error", "lower", against="base", against_metric="evaluate/error")
    own, other = judged(runs, claim, across)
    x, y = sampled["less"][:5], LESS[:5]
    assert (own["n"], own["paired"]) == (5, True)
    assert own["p"] == pytest.approx(stats.ttest_rel(x, y).pvalue)
    assert own["delta"] == pytest.approx(np.mean(x) - np.mean(y))
    assert (own["arm"], own["baseline"], own["against_metric"]) == ("less", "less", "test/error")
    assert other["p"] == pytest.approx(stats.ttest_rel(LESS[1:], BASE[1:]).pvalue)


def test_two_metrics_are_paired_run_by_run_even_if_a_seed_occurs_twice():
    values = {"base": BASE, "less": LESS}
    runs = table(values, **{"val/error": {"base": LESS, "less": MORE}})
    runs = pd.concat([runs, runs.iloc[-2:]])
    (row,) = judged(runs, Claim("less", "test/error", against_metric="val/error"))
    assert (row["paired"], row["n"]) == (True, 8)
    x, y = LESS + LESS[-2:], MORE + MORE[-2:]
    assert row["p"] == pytest.approx(stats.ttest_rel(x, y).pvalue)


NEAR = [b + d for b, d in zip(BASE, (0.001, -0.001, 0.0005, 0, -0.0005, 0.001), strict=True)]


def test_a_claim_of_equivalence_is_supported_if_the_whole_interval_is_within():
    runs = table({"base": BASE, "near": NEAR, "less": LESS})
    near, far = judged(
        runs, Claim("near", direction="equivalent", margin=0.01), Claim("less", direction="lower")
    )
    for row, values in ((near, NEAR), (far, LESS)):
        wide = stats.ttest_rel(values, BASE).confidence_interval(0.975)
        assert (row["low"], row["high"]) == pytest.approx((wide.low, wide.high))
    assert -0.01 < near["low"] < 0 < near["high"] < 0.01
    assert near["verdict"] == far["verdict"] == "supported"
    # With δ at the interval's end, or just short of it, the interval is no longer within ±δ.
    end = max(-near["low"], near["high"])
    for margin, verdict in ((end, "open"), (1.001 * end, "supported"), (0.999 * end, "open")):
        claims = [Claim("near", direction="equivalent", margin=margin), Claim("less")]
        assert judged(runs, *claims)[0]["verdict"] == verdict


def test_a_claim_of_equivalence_is_refuted_by_a_difference_that_matters():
    runs = table({"base": BASE, "less": LESS, "wide": [0.3, 0.0, 0.2, 0.0, 0.25, 0.0]})
    claims = [Claim(arm, direction="equivalent", margin=0.005) for arm in ("less", "wide")]
    less, wide = judged(runs, *claims)
    assert less["high"] < -0.005
    assert (less["verdict"], wide["verdict"]) == ("refuted", "open")
    (less,) = judged(runs, Claim("less", direction="equivalent", margin=0.1))
    assert less["verdict"] == "supported"
    assert less["description"] == "lower by less than δ", (
        "the difference is real but does not matter"
    )
    (less,) = judged(runs, Claim("less", direction="equivalent", margin=0.025))
    assert less["verdict"] == "open", "it may or may not matter"


@pytest.mark.parametrize(
    ("direction", "margin", "verdict"),
    [
        ("lower", 0.01, "supported"),
        ("lower", 0.02, "supported, size open"),
        ("lower", 0.1, "too small to matter"),
        ("higher", 0.01, "refuted"),
        ("higher", 0.02, "refuted, size open"),
        ("higher", 0.1, "too small to matter"),
        ("differs", 0.01, "supported"),
        ("differs", 0.02, "supported, size open"),
        ("differs", 0.1, "too small to matter"),
        ("lower", None, "supported"),
        ("higher", None, "refuted"),
        ("differs", None, "supported"),
    ],
)
def test_a_claim_is_judged_by_its_interval_against_the_margin(direction, margin, verdict):
    (row,) = judged(
        table({"base": BASE, "less": LESS}), Claim("less", "test/error", direction, margin)
    )
    assert -0.04 < row["low"] < -0.02 < row["high"] < -0.01
    assert row["verdict"] == verdict


SPREAD = [-0.9, -0.35, 0.1, 0.45, 1.2, -0.5, 0.3, 0.05, 0.8, -0.6, -0.1, -0.45]
OTHER = [0.4, -0.8, 0.9, -0.1, -0.3, 0.55, -1.1, 0.2, 0.05, -0.25, 0.7, -0.2]


def spread_of(ratio):
    """Make two arms with shared seeds whose standard deviations have this ratio."""
    unit = np.std(OTHER, ddof=1) / np.std(SPREAD, ddof=1)
    some = [0.1 + 0.01 * value * unit * ratio for value in SPREAD]
    return table({"base": [0.1 + 0.01 * value for value in OTHER], "some": some})


@pytest.mark.parametrize(
    ("direction", "margin", "verdict"),
    [
        ("higher", None, "supported"),
        ("higher", 2, "supported"),
        ("higher", 5, "supported, size open"),
        ("higher", 20, "too small to matter"),
        ("lower", None, "refuted"),
        ("lower", 2, "refuted"),
        ("lower", 5, "refuted, size open"),
        ("differs", 2, "supported"),
        ("differs", 5, "supported, size open"),
        ("equivalent", 2, "refuted"),
        ("equivalent", 5, "open"),
        ("equivalent", 20, "supported"),
    ],
)
def test_a_claim_about_spread_is_judged_by_the_logarithm_of_a_ratio(direction, margin, verdict):
    (row,) = judged(
        spread_of(4), Claim("some", "test/error", direction, margin, statistic="spread")
    )
    assert 2 < row["low"] < 4 < row["high"] < 10
    assert row["verdict"] == verdict
    inverse = {"lower": "higher", "higher": "lower"}.get(direction, direction)
    claim = Claim("some", "test/error", inverse, margin, statistic="spread")
    (other,) = judged(spread_of(1 / 4), claim)
    assert other["verdict"] == verdict, "a ratio of 1/4 is as far from 1 as a ratio of 4"


def test_a_claim_about_spread_compares_standard_deviations():
    runs = spread_of(4)
    x, y = (runs.loc[runs["arm"] == arm, "test/error"].tolist() for arm in ("some", "base"))
    (row,) = judged(runs, Claim("some", statistic="spread"))
    ratio, t = reference.pitman_morgan(x, y)
    assert row["delta"] == pytest.approx(ratio)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 10))
    ends = reference.pitman_morgan_interval(x, y, stats.t.isf(0.025, 10))
    assert (row["low"], row["high"]) == (row["ci_low"], row["ci_high"]) == pytest.approx(ends)
    assert (row["change"], row["statistic"], row["n"]) == ("higher", "spread", 12)
    assert row["delta"] == pytest.approx(row["sd"] / row["baseline_sd"])
    assert math.isnan(row["d_z"])


def test_halved_spread_is_as_far_from_no_difference_as_doubled_spread():
    for ratio, direction in ((0.2, "lower"), (5, "higher")):
        claim = Claim("some", "test/error", direction, 2.0, statistic="spread")
        assert judged(spread_of(ratio), claim)[0]["verdict"] == "supported"


def test_claims_on_spread_and_mean_of_one_arm_are_two_of_one_family():
    runs = spread_of(4)
    spread, mean = judged(runs, Claim("some", statistic="spread"), Claim("some"))
    assert spread["family_size"] == mean["family_size"] == 2
    for row in (spread, mean):
        assert row["p_adjusted"] == min(1, 2 * row["p"])
    x, y = (runs.loc[runs["arm"] == arm, "test/error"].tolist() for arm in ("some", "base"))
    ends = reference.pitman_morgan_interval(x, y, stats.t.isf(0.0125, 10))
    assert (spread["low"], spread["high"]) == pytest.approx(ends)


def test_without_shared_seeds_spread_is_tested_by_f():
    apart = table({"base": OTHER, "some": [3 * x for x in SPREAD]}, first_seeds={"some": 100})
    (row,) = judged(apart, Claim("some", direction="higher", statistic="spread"))
    f = np.var([3 * x for x in SPREAD], ddof=1) / np.var(OTHER, ddof=1)
    assert row["p"] == pytest.approx(2 * stats.f.sf(f, 11, 11))
    assert row["verdict"] == "supported"
    assert not row["paired"]


@pytest.mark.parametrize(
    "claims",
    [
        [Claim("less", against="more"), Claim("more", against="less")],
        [Claim("less"), Claim("less", against="base")],
        [Claim("less", "a/x", against_metric="b/x"), Claim("less", "b/x", against_metric="a/x")],
        [Claim("less", against="less")],
        [Claim("less", against="lss")],
    ],
)
def test_a_claim_made_twice_or_against_itself_or_an_unknown_arm_is_refused(claims):
    more = {name: {"base": BASE, "less": LESS, "more": MORE} for name in ("a/x", "b/x")}
    runs = table({"base": BASE, "less": LESS, "more": MORE}, **more)
    with pytest.raises(AblateError) as caught:
        compared(runs, claims=claims)
    assert len(caught.value.faults) == 1


def test_a_claim_that_makes_no_sense_is_refused():
    for wrong in (
        {"direction": "equivalent"},
        {"direction": "equivelent", "margin": 0.1},
        {"statistic": "sd"},
        {"statistic": "spread", "margin": 0.9},
    ):
        with pytest.raises(AblateError):
            Claim("a", **wrong)


def test_seeds_for_power_follow_the_spread_of_pairs_and_the_size_of_the_family():
    found = compared(table({"base": BASE, "less": LESS, "more": MORE}), margin=0.01)
    spread = np.std(np.array(LESS) - BASE, ddof=1)
    # The power to find it beyond δ if the truth is 2δ, on one side; two arms share 0.05.
    needed = TTestPower().solve_power(
        0.01 / spread, power=0.8, alpha=0.05 / 2 / 2, alternative="larger"
    )
    assert found.loc["less", "test/error"]["seeds_for_power"] == math.ceil(needed)


def test_twenty_seeds_get_a_bootstrap_interval_that_can_be_repeated():
    values = np.random.default_rng(0).normal(0.1, 0.01, (2, 20))
    runs = table({"base": values[0].tolist(), "other": values[1].tolist()})
    row = only(runs)
    assert row["bca_low"] < row["delta"] < row["bca_high"]
    assert only(runs)["bca_low"] == row["bca_low"]
    assert math.isnan(only(table({"base": BASE, "less": LESS}))["bca_low"])


def test_arms_with_equal_values_but_not_known_identical_prove_nothing():
    row = only(table({"base": BASE, "same": BASE}), margin=0.01)
    assert row["delta"] == 0
    assert pd.isna(row["change"])
    assert not row["identical"]
    assert row["description"] == "not told apart"
    assert math.isnan(row["low"])
    assert row["p_permutation"] == row["p_wilcoxon"] == 1
    (row,) = judged(table({"base": BASE, "same": BASE}), Claim("same", margin=0.01))
    assert row["verdict"] == "open"


def test_arms_known_to_be_bit_identical_differ_by_exactly_zero():
    runs = table({"base": BASE, "same": BASE, "less": LESS})
    alike = [("base", "same")]
    found = compared(runs, margin=0.01, identical=alike).droplevel("metric")
    assert found["identical"].to_dict() == {"same": True, "less": False}
    assert found.loc["same", ["delta", "low", "high"]].tolist() == [0, 0, 0]
    assert found.loc["same", "description"] == "within ±δ"
    for direction, verdict in (("equivalent", "supported"), ("lower", "too small to matter")):
        claim = Claim("same", direction=direction, margin=0.01)
        assert judged(runs, claim, identical=alike)[0]["verdict"] == verdict
    (row,) = judged(runs, Claim("same", direction="lower"), identical=alike)
    assert row["verdict"] == "open", "without δ, no difference is too small to matter"


def test_otherwise_a_lack_of_spread_proves_nothing():
    shifted = [value + 0.05 for value in BASE]
    for values, alike in (
        ({"base": BASE, "other": shifted}, []),  # always the same difference
        ({"base": BASE, "other": shifted}, [("base", "other")]),  # called identical, yet it differs
        ({"base": [0.1] * 6, "other": [0.1] * 6}, []),
        ({"base": [0.1], "other": [0.1]}, [("base", "other")]),  # one seed
    ):
        (row,) = judged(
            table(values), Claim("other", direction="equivalent", margin=0.1), identical=alike
        )
        assert (row["verdict"], row["identical"]) == ("open", False)
        assert math.isnan(row["low"])
    apart = table({"base": BASE, "other": [0.1] * 6}, first_seeds={"other": 100})
    (row,) = judged(apart, Claim("other", direction="equivalent", margin=0.5))
    assert (row["paired"], row["verdict"]) == (False, "open"), "only one of the arms lacks spread"
    spread = Claim("other", direction="equivalent", margin=2, statistic="spread")
    same = table({"base": BASE, "other": BASE})
    assert judged(same, spread, identical=[("base", "other")])[0]["verdict"] == "open"


# -- summaries of arms -----------------------------------------------------------------------------


def test_an_arm_is_summarized_over_its_finished_runs_and_the_others_are_counted():
    status = {("less", 1): "diverged", ("less", 2): "running"}
    runs = table({"base": BASE, "less": [*LESS[:4], None]}, status)
    found = summaries.arms(runs).set_index("arm")
    less = found.loc["less"]
    assert less["mean"] == pytest.approx((0.08 + 0.10) / 2)
    names = ["n", "n_runs", "n_finished", "n_failed", "n_diverged", "n_unfinished", "n_missing"]
    assert less[names].tolist() == [2, 5, 2, 1, 1, 1, 1]
    assert found.loc["base", names].tolist() == [6, 6, 6, 0, 0, 0, 0]
    assert found["untrained"].to_dict() == {"base": 0, "less": 1 / 3}
    assert (less["lowest"], less["highest"]) == (0.08, 0.10)


def test_an_arm_with_one_seed_has_no_interval():
    (row,) = summaries.arms(table({"alone": [0.1]})).to_dict("records")
    assert row["mean"] == 0.1
    assert math.isnan(row["ci_low"])
    assert math.isnan(row["sd"])


def test_seeds_that_only_another_arm_uses_do_not_count_as_missing():
    runs = table({"base": BASE, "again": BASE}, first_seeds={"again": 100})
    assert summaries.arms(runs)["n_missing"].tolist() == [0, 0]


def test_arms_that_never_finished_are_still_counted():
    found = summaries.arms(table({"base": [None, None]}))
    assert found[["n", "n_failed"]].to_numpy().tolist() == [[0, 2]]


def test_arms_are_listed_with_their_knobs_in_the_order_of_the_frame(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.5, 0.0]}, seeds=3)
    found = summaries.arms(frames.load(tmp_path), ["test/loss", "test/error"])
    assert found["dropout.dense"].tolist() == [0, 0, 0.5, 0.5]
    assert found["metric"].tolist() == ["test/loss", "test/error"] * 2


def test_curves_have_a_mean_and_an_interval_per_epoch(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.5, 0.0]}, seeds=3)
    history = frames.history(tmp_path)
    found = summaries.curves(history, "train/loss")
    assert found["arm"].tolist() == ["dropout.dense=0.0"] * 3 + ["dropout.dense=0.5"] * 3
    first = history[(history["epoch"] == 1) & (history["arm"] == "dropout.dense=0.0")]
    values = first["train/loss"].tolist()
    assert found.loc[0, "mean"] == pytest.approx(sum(values) / 3)
    half = reference.t_half_width(values, 4.302653)  # Student's 0.975 quantile, two degrees
    assert found.loc[0, "ci_high"] == pytest.approx(sum(values) / 3 + half, rel=1e-6)


def test_the_dose_response_has_a_series_per_setting_of_the_other_knobs(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.5, 0.0], "norm": ["none", "batch"]}, seeds=3)
    runs = frames.load(tmp_path)
    found = summaries.dose_response(runs, "dropout.dense")
    assert found["series"].tolist() == ["norm=batch"] * 2 + ["norm=none"] * 2
    assert found["dose"].tolist() == [0, 0.5, 0, 0.5]
    assert found["n"].tolist() == [3] * 4
    at = (runs["norm.name"] == "none") & (runs["dropout.dense"] == 0.5)
    assert found["mean"].iloc[-1] == pytest.approx(runs.loc[at, "test/error"].mean())
    alone = summaries.dose_response(runs[runs["norm.name"] == "none"], "dropout.dense")
    assert set(alone["series"]) == {""}


def test_words_are_not_doses(tmp_path):
    write_sweep(tmp_path, {"norm": ["none", "batch"]}, seeds=1)
    runs = frames.load(tmp_path)
    with pytest.raises(AblateError, match="not numbers"):
        summaries.dose_response(runs, "norm.name")
    with pytest.raises(AblateError, match=r"did you mean 'norm\.name'"):
        summaries.dose_response(runs, "norm.nme")


# -- cells ----------------------------------------------------------------------------------------


def factorial(seeds=4):
    """Make a balanced 3 by 2 design."""
    generator = np.random.default_rng(0)
    rows = []
    for i, rate in enumerate((0.0, 0.25, 0.5)):
        for j, norm in enumerate(("none", "batch")):
            for seed in range(seeds):
                error = 0.1 + 0.01 * i * j + 0.005 * seed + generator.normal(0, 0.004)
                place = {"replicate": str(seed), "status": "finished"}
                rows.append(place | {"dropout.dense": rate, "norm.name": norm, "test/error": error})
    return pd.DataFrame(rows)


def test_cells_of_a_factorial_hold_its_means():
    runs = factorial()
    found = summaries.cells(runs, ["norm.name", "dropout.dense"])
    expected = runs.groupby(["norm.name", "dropout.dense"])["test/error"].mean()
    assert found["mean"].tolist() == pytest.approx(expected.tolist())
    assert set(found["n"]) == {4}


# -- notes -----------------------------------------------------------------------------------------


def notes(folder):
    return " | ".join(caveats.notes(frames.read(folder)))


def test_a_clean_sweep_has_no_notes(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.5, 0.0]}, seeds=3)
    assert notes(tmp_path) == ""


def test_arms_with_bit_identical_losses_are_found(tmp_path):
    history = [{"epoch": 1, "step": 1, "train/loss": 0.1}]
    for rate in (0.0, 0.25, 0.5):
        for seed in range(2):
            losses = [history[0] | {"train/loss": 0.1 * (seed + 1) + (1e-16 if rate == 0.5 else 0)}]
            write_run(
                tmp_path,
                {"dropout.dense": rate, "seed": seed},
                history=losses,
                metrics={"test/error": 0.1},
            )
    read = frames.read(tmp_path)
    assert caveats.identical_arms(read) == [("dropout.dense=0.0", "dropout.dense=0.25")]
    assert "bit-identical" in notes(tmp_path)


def test_arms_that_agree_only_on_some_seeds_are_not_identical(tmp_path):
    for rate in (0.0, 0.5):
        for seed in range(2):
            loss = 0.3 if seed == 0 else rate
            write_run(
                tmp_path,
                {"dropout.dense": rate, "seed": seed},
                history=[{"epoch": 1, "step": 1, "train/loss": loss}],
                metrics={"test/error": 0.1},
            )
    assert caveats.identical_arms(frames.read(tmp_path)) == []


def test_runs_that_diverged_in_the_same_way_are_identical_too(tmp_path):
    history = [{"epoch": 1, "step": 1, "train/loss": 2.0}, {"epoch": 2, "step": 2}]
    for rate in (0.0, 0.5):
        write_run(tmp_path, {"dropout.dense": rate}, status="diverged", history=history, metrics={})
    assert len(caveats.identical_arms(frames.read(tmp_path))) == 1


def test_gaps_and_mixtures_are_noted(tmp_path):
    write_sweep(tmp_path, {"dropout.dense": [0.0, 0.5]}, seeds=3)
    write_run(tmp_path, {"dropout.dense": 0.0, "seed": 3}, status="failed")
    write_run(tmp_path, {"dropout.dense": 0.0, "seed": 4}, status="diverged")
    write_run(tmp_path, {"dropout.dense": 0.0, "seed": 5}, status="interrupted")
    write_run(tmp_path, {"dropout.dense": 0.9}, digest="another")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "record.json").write_text("{")
    told = notes(tmp_path)
    for words in (
        *(
            "failed runs are left out of the means: dropout.dense=0.0 (1)",
            "runs that diverged",
            "unfinished runs",
        ),
        "better but not by how much: dropout.dense=0.0 (1 of 4: 25 %, 95 % interval 1 to 81)",
        *("runs are missing for seeds that other", "dropout.dense=0.5 (3), dropout.dense=0.9 (5)"),
        *("unequal n: from 1 to 3", "only one seed", "2 data sets"),
        *("files that cannot be read", "broken/record.json"),
    ):
        assert words in told


def test_several_commits_uncommitted_changes_and_repeated_seeds_are_noted(tmp_path):
    for commit in ("aaa", "bbb"):
        about = {"commit": commit, "dirty": True, "device": commit, "data": {"digest": "d"}}
        write_run(tmp_path / commit, {}, environment=about, digest=commit)
    told = notes(tmp_path)
    assert "2 commits" in told
    assert "uncommitted changes: 2 of 2 runs" in told
    assert "2 kinds of hardware" in told
    assert "appear twice" in told


# -- by simulation, from runs to descriptions ------------------------------------------------------


def test_arms_that_equal_the_baseline_are_rarely_told_apart_from_it():
    generator = np.random.default_rng(0)
    names = ("base", "a", "b", "c")
    false = 0
    for _ in range(100):
        seed_effect = generator.normal(0, 0.01, 6)
        errors = 0.1 + seed_effect + generator.normal(0, 0.005, (4, 6))
        found = compared(table(dict(zip(names, errors.tolist(), strict=True))))
        false += (found["description"] != "not told apart").any()
    # Among 100 families at 5 %, twelve or more false ones would occur once in 200 times.
    assert stats.binom.sf(11, 100, verdicts.ALPHA) < 0.005
    assert false < 12


def test_an_arm_whose_limit_never_acted_is_identical_to_one_without_it(tmp_path):
    for limit in (None, 100.0):
        for seed in range(2):
            write_run(
                tmp_path,
                {"regularize.clip_norm": limit, "seed": seed},
                history=[{"epoch": 1, "step": 1, "train/loss": 0.1 * seed}],
                metrics={"test/error": 0.1, **({"acted/clip_norm": 0.0} if limit else {})},
            )
    assert len(caveats.identical_arms(frames.read(tmp_path))) == 1
