"""Runs that did not train: which they are, their share, and what a contrast with them may say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.analyze import caveats, contrasts, frames, outcomes, ranks, summaries
from ablate.report.write import write_report
from ablate.study.claim import Claim
from tests import reference
from tests.analyze.test_frames import DIGEST, write_run

INF = math.inf
BASE = [0.10, 0.12, 0.11, 0.13, 0.105, 0.125, 0.115, 0.108, 0.122, 0.118]
GOOD = [value - 0.05 for value in BASE]


def table(arms, status=None, at_chance=(), first_seeds=None, **metrics):
    """Make a frame of runs; those in `at_chance`, by (arm, seed), stayed at chance."""
    rows = []
    for arm, values in arms.items():
        for i, value in enumerate(values):
            seed = i + (first_seeds or {}).get(arm, 0)
            more = {name: numbers[arm][i] for name, numbers in metrics.items()}
            ended = (status or {}).get((arm, seed), "finished")
            named = {"arm": arm, "seed": seed, "replicate": str(seed), "key": f"{arm}{seed}"}
            chance = {"at_chance": (arm, seed) in at_chance, "test_images": 400}
            rows.append(named | {"status": ended, "test/error": value} | chance | more)
    return pd.DataFrame(rows).astype({"test/error": "float64", "at_chance": "boolean"})


def rows_of(runs, **asked):
    found = contrasts.contrasts(runs, np.random.default_rng(0), **asked)
    return {row["metric"]: row for row in found.to_dict("records")}


def one(runs, metric="test/error", **asked):
    return rows_of(runs, **asked)[metric]


DIVERGED = {("bad", seed): "diverged" for seed in range(2)}


# -- at chance -------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.data(), st.floats(0.05, 0.95))
def test_a_run_is_at_chance_if_guessing_the_largest_class_could_do_as_well(images, data, share):
    correct = data.draw(st.integers(0, images))
    tail = reference.binomial_tail(correct, images, share)
    if abs(tail - 0.001) > 1e-9:
        assert outcomes.is_at_chance(correct / images, images, share) == (tail >= 0.001)


@pytest.mark.parametrize(
    ("correct", "images", "share", "expected"),
    [
        (9, 9, 0.5, True),  # by chance alone 1 in 512, more than 1 in 1,000
        (10, 10, 0.5, False),  # 1 in 1,024
        (0, 10, 0.5, True),
        (2, 2, 0.1, True),  # 1 in 100
        (4, 4, 0.1, False),  # 1 in 10,000
    ],
)
def test_being_at_chance_by_hand(correct, images, share, expected):
    assert outcomes.is_at_chance(correct / images, images, share) == expected


def test_without_an_accuracy_no_run_is_at_chance():
    assert not outcomes.is_at_chance(math.nan, 100, 0.1)


def chance_of(tmp_path, accuracy, data):
    history = [{"epoch": 1, "step": 1, "train/loss": 1.0, "val/accuracy": accuracy}]
    measured = {"test/error": 0.9, "val/accuracy": accuracy}
    about = {"commit": "c", "dirty": False, "device": "d", "data": {"digest": DIGEST} | data}
    write_run(tmp_path, {}, history=history, metrics=measured, environment=about)
    return frames.load(tmp_path)["at_chance"].iloc[0]


def test_being_at_chance_is_unknown_if_the_record_lacks_class_sizes_or_accuracy(tmp_path):
    sizes = {"train": 1000, "val": 100, "test": 400}
    known = {"sizes": sizes, "largest_class": 0.1}
    assert chance_of(tmp_path / "low", 0.1, known)
    assert not chance_of(tmp_path / "high", 0.9, known)
    assert pd.isna(chance_of(tmp_path / "old", 0.1, {"sizes": sizes}))
    assert pd.isna(chance_of(tmp_path / "blind", None, known))


# -- the share -------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.data(), st.sampled_from([0.05, 0.01]))
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(total, data, alpha):
    count = data.draw(st.integers(0, total))
    low, high = outcomes.share_interval(np.array([count]), np.array([total]), alpha)
    exact = stats.binomtest(count, total).proportion_ci(1 - alpha, method="exact")
    assert (low[0], high[0]) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_share_of_none_and_of_all_by_hand():
    # For none of five, the upper end u solves (1 - u)^5 = 0.025.
    low, high = outcomes.share_interval(np.array([0.0, 5.0]), np.array([5.0, 5.0]))
    assert low.tolist() == pytest.approx([0, 0.025**0.2])
    assert high.tolist() == pytest.approx([1 - 0.025**0.2, 1])


def test_arms_have_the_share_that_did_not_train_and_counts_of_each_outcome():
    status = DIVERGED | {("bad", 3): "failed", ("bad", 4): "interrupted"}
    runs = table({"base": BASE, "bad": GOOD}, status, at_chance={("bad", 5)})
    bad = summaries.arms(runs, ["test/error"]).set_index("arm").loc["bad"]
    names = ["n", "n_finished", "n_diverged", "n_at_chance", "n_failed", "n_unfinished"]
    assert bad[names].tolist() == [5, 6, 2, 1, 1, 1]
    # Of the ten runs, one failed and one has not finished, so eight have an outcome.
    assert bad["untrained"] == 3 / 8
    exact = stats.binomtest(3, 8).proportion_ci(method="exact")
    ends = (bad["untrained_low"], bad["untrained_high"])
    assert ends == pytest.approx((exact.low, exact.high))
    assert bad["mean"] == pytest.approx(np.mean([GOOD[i] for i in (2, 6, 7, 8, 9)]))


def test_an_arm_without_outcomes_has_no_share():
    runs = table({"base": [0.1]}, {("base", 0): "failed"})
    assert math.isnan(summaries.arms(runs)["untrained"].iloc[0])


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "worst"),
    [("test/error", INF), ("test/accuracy", -INF), ("gap/loss", INF), ("epochs_to_target", INF)],
)
def test_a_run_that_did_not_train_has_the_worst_possible_value(metric, worst):
    runs = table({"bad": [0.1, 0.2, 0.3, 0.4]}, {("bad", 0): "diverged", ("bad", 2): "failed"},
                 at_chance={("bad", 1)}, **{metric: {"bad": [0.1, 0.2, 0.3, 0.4]}})  # fmt: skip
    found = outcomes.values_of(runs, metric).tolist()
    assert found == pytest.approx([worst, worst, math.nan, 0.4], nan_ok=True)


@pytest.mark.parametrize(
    "metric",
    ["seconds", "images_per_second", "parameters", "acted/clip_norm", "inspect/end/dead/mean"],
)
def test_metrics_that_do_not_depend_on_learning_keep_runs_at_chance(metric):
    values = {"base": BASE, "bad": [float(i) for i in range(10)]}
    status, chance = {("bad", 0): "diverged"}, {("bad", 1)}
    runs = table({"base": BASE, "bad": GOOD}, status, chance, **{metric: values})
    runs = runs.assign(trained_alone=True)
    found = outcomes.values_of(runs[runs["arm"] == "bad"], metric).tolist()
    assert found == pytest.approx([math.nan, *range(1, 10)], nan_ok=True)
    row = one(runs, metric)
    assert (row["n"], row["n_untrained"]) == (9, 0)
    kept = stats.ttest_rel(values["bad"][1:], BASE[1:])
    assert row["p"] == pytest.approx(kept.pvalue)
    means = summaries.arms(runs, [metric]).set_index("arm")["mean"]
    assert means["bad"] == pytest.approx(5)


def test_an_older_frame_without_the_column_is_still_compared():
    runs = table({"base": BASE, "good": GOOD}, at_chance={("good", 0)}).drop(columns="at_chance")
    row = one(runs)
    assert row["n_untrained"] == 0
    assert row["delta"] == pytest.approx(-0.05)
    assert summaries.arms(runs)["n_at_chance"].tolist() == [0, 0]


# -- contrasts -------------------------------------------------------------------------------------


def test_a_contrast_with_untrained_runs_gives_no_size():
    values = {"base": BASE, "bad": [0.0] * 10}
    runs = table(values, DIVERGED, at_chance={("bad", 2)})
    row = one(runs, margin=0.01)
    unknown = ("delta", "low", "high", "ci_low", "ci_high", "d_z", "hedges_g", "improvement")
    assert all(math.isnan(row[name]) for name in unknown)
    assert (row["n"], row["n_untrained"], row["n_baseline_untrained"]) == (10, 3, 0)
    # Seven pairs below and three above: 2 (1 + 10 + 45 + 120) / 1024.
    assert row["p"] == pytest.approx(2 * 176 / 1024)
    assert row["description"] == "not told apart"
    assert row["mean"] == 0
    assert row["baseline_mean"] == pytest.approx(np.mean(BASE))


def all_lost(n, claims, **asked):
    """Compare an arm whose n runs all diverged, by claims."""
    status = {("bad", seed): "diverged" for seed in range(n)}
    runs = table({"base": BASE[:n], "bad": BASE[:n]}, status)
    found = contrasts.contrasts(runs, np.random.default_rng(0), claims=claims, **asked)
    return found.to_dict("records")[0]


@pytest.mark.parametrize(
    ("n", "direction", "verdict"),
    [
        (5, "higher", "open"),  # p = 0.0625
        (6, "higher", "supported, size open"),  # 0.03125
        (10, "higher", "supported, size open"),
        (10, "lower", "refuted, size open"),
        (10, "differs", "supported, size open"),
        (10, "equivalent", "open"),
    ],
)
def test_the_verdict_on_an_arm_that_never_trains_comes_from_the_sign_test(n, direction, verdict):
    row = all_lost(n, [Claim("bad", direction=direction, margin=0.01)])
    assert row["p"] == 2 / 2**n
    assert row["verdict"] == verdict
    assert row["description"] == ("higher" if n > 5 else "not told apart")


def test_without_a_margin_only_the_side_is_claimed():
    assert all_lost(10, [Claim("bad", direction="higher")])["verdict"] == "supported"
    assert all_lost(10, [Claim("bad", direction="lower")])["verdict"] == "refuted"


def test_the_sign_test_is_compared_with_its_share_of_the_familys_alpha():
    claim = Claim("bad", direction="higher", margin=0.01)
    assert all_lost(6, [claim], unjudged=1)["verdict"] == "open"  # 0.03125 is above 0.05 / 2
    assert all_lost(7, [claim], unjudged=1)["verdict"] == "supported, size open"
    assert all_lost(6, [claim], unjudged=1)["p_adjusted"] == 0.0625


def test_diverged_runs_of_the_baseline_make_the_other_arm_better():
    status = {("base", seed): "diverged" for seed in range(8)}
    runs = table({"base": BASE[:8], "good": BASE[:8]}, status)
    row = one(runs, claims=[Claim("good", direction="lower", margin=0.01)])
    assert (row["n_untrained"], row["n_baseline_untrained"]) == (0, 8)
    assert row["verdict"] == "supported, size open"
    accuracy = {name: [1 - x for x in BASE[:8]] for name in ("base", "good")}
    runs = table({"base": BASE[:8], "good": BASE[:8]}, status, **{"test/accuracy": accuracy})
    row = one(runs, "test/accuracy", primary="test/accuracy")
    assert (row["p"], row["description"]) == (2 / 2**8, "higher")


def test_a_pair_in_which_neither_run_trained_is_dropped():
    status = {(arm, seed): "diverged" for arm in ("base", "bad") for seed in range(4)}
    row = one(table({"base": BASE, "bad": GOOD}, status))
    assert row["p"] == 2 / 2**6
    assert row["description"] == "lower"


def test_a_failed_run_is_not_an_outcome_and_drops_only_its_pair():
    runs = table({"base": BASE, "good": GOOD}, {("good", 0): "failed", ("base", 1): "interrupted"})
    row = one(runs)
    assert (row["n"], row["n_untrained"]) == (8, 0)
    assert row["delta"] == pytest.approx(-0.05)


def test_without_shared_seeds_arms_are_compared_by_the_rank_sum():
    status = {("bad", 100 + seed): "diverged" for seed in range(2)}
    bad = [value + 0.1 for value in BASE[:5]]
    apart = table({"base": BASE[:5], "bad": bad}, status, first_seeds={"bad": 100})
    row = one(apart)
    worst = [INF, INF, *bad[2:]]
    assert not row["paired"]
    assert row["p"] == pytest.approx(reference.rank_sum(worst, BASE[:5]))
    assert row["p"] == pytest.approx(2 / 252)  # the two extremes of C(10, 5) ways
    assert row["description"] == "higher"


def test_spread_and_metrics_without_a_better_side_are_not_judged_by_order():
    claims = [
        Claim("bad", direction="higher", statistic="spread", margin=1.5),
        Claim("bad", "gap/loss", "higher"),
    ]
    gaps = {"base": BASE, "bad": BASE}
    status = {("bad", seed): "diverged" for seed in range(10)}
    runs = table({"base": BASE, "bad": BASE}, status, **{"gap/loss": gaps})
    found = contrasts.contrasts(runs, np.random.default_rng(0), claims=claims)
    judged = found[found["family"] == "claims"]
    assert judged["verdict"].tolist() == ["open"] * 2
    assert judged["p"].isna().all()


def test_untrained_runs_are_noted_with_their_share(tmp_path):
    for rate in (0.0, 0.5):
        for seed in range(5):
            lost = {"status": "diverged", "metrics": {}} if rate and seed < 2 else {}
            write_run(tmp_path, {"dropout.dense": rate, "seed": seed}, **lost)
    (note,) = (note for note in caveats.notes(frames.read(tmp_path)) if "diverged" in note)
    exact = stats.binomtest(2, 5).proportion_ci(method="exact")
    ends = f"{100 * exact.low:.0f} to {100 * exact.high:.0f}"
    assert f"dropout.dense=0.5 (2 of 5: 40 %, 95 % interval {ends})" in note


def test_the_rank_sum_test_handles_many_runs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=40), rng.normal(0.5, size=30)
    x[:3] = INF
    ties = stats.mannwhitneyu(np.where(np.isinf(x), 9, x), y, method="asymptotic").pvalue
    assert ranks.rank_sum(x, y) == pytest.approx(ties, rel=0.1)


def test_a_report_is_written_even_if_all_runs_stayed_at_chance(tmp_path):
    history = [{"epoch": 1, "step": 1, "train/loss": 1.0, "val/accuracy": 0.1}]
    measured = {"test/error": 0.9, "train/error": 0.9, "val/accuracy": 0.1}
    data = {"digest": DIGEST, "sizes": {"train": 1000, "val": 100}, "largest_class": 0.1}
    about = {"commit": "c", "dirty": False, "device": "d", "data": data}
    for rate, seed in itertools.product((0.0, 0.5), range(2)):
        knobs = {"dropout.dense": rate, "seed": seed}
        parts = {"history": history, "metrics": measured, "environment": about}
        write_run(tmp_path / "runs", knobs, **parts)
    folder, comparison = write_report([tmp_path / "runs"])
    assert [line.n for line in comparison.lines.values()] == [0, 0]
    assert not (folder / "figures" / "gap.png").exists()
    assert (folder / "report.html").is_file()
