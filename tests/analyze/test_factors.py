"""Effects of factors: each level against the first, seed by seed."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablate.analyze import factors, verdicts
from ablate.analyze.effects import by_seed, estimated
from tests import reference
from tests.analyze.test_frames import write_run

NAMES = ("dropout.dense", "norm.name")
# Errors in %, by (rate, norm), for three seeds. Effects by hand:
#   dropout      +1, +2, +3 without norm, -1, 0, +1 with it: on average 0, +1, +2
#   norm         -2, -3, -4 at rate 0, -4, -5, -6 at rate 0.5: on average -3, -4, -5
#   interaction  -2, -2, -2
ERRORS = {
    (0.0, "none"): (10, 11, 12),
    (0.5, "none"): (11, 13, 15),
    (0.0, "batch"): (8, 8, 8),
    (0.5, "batch"): (7, 8, 9),
}


def table(cells, first_seeds=None):
    """Make a frame of runs from cells (rate, norm), a value per seed; None failed, inf diverged."""
    rows = []
    for (rate, norm), values in cells.items():
        start = (first_seeds or {}).get((rate, norm), 0)
        for seed, value in enumerate(values, start):
            lost = value is None or math.isinf(value)
            status = "failed" if value is None else "diverged" if lost else "finished"
            place = {"arm": f"{rate} {norm}", "replicate": str(seed), "status": status}
            knobs = {"dropout.dense": rate, "norm.name": norm}
            rows.append(place | knobs | {"test/error": None if lost else value / 100})
    return pd.DataFrame(rows).astype({"test/error": "float64"})


def effects(runs, family=1, **asked):
    return estimated(runs, factors.factorial(runs), family, **asked).set_index("effect")


def drawn(rng, rates=3, norms=("none", "batch"), seeds=5):
    """Draw a sweep in which the seed shifts all runs alike and the factors do nothing."""
    each = rng.normal(0, 1, (rates, len(norms), seeds)) + rng.normal(0, 3, seeds)
    return {(r / 4, norms[n]): tuple(each[r, n]) for r in range(rates) for n in range(len(norms))}


def test_each_seed_gives_a_difference_of_levels_averaged_over_the_other_factor():
    found = effects(table(ERRORS))
    assert found["delta"].to_dict() == pytest.approx(
        {"dropout.dense=0.5": 0.01, "norm=batch": -0.04, "dropout.dense=0.5 × norm=batch": -0.02}
    )
    rate = stats.ttest_1samp([0.0, 0.01, 0.02], 0)
    row = found.loc["dropout.dense=0.5"]
    assert row["p"] == pytest.approx(rate.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(rate.confidence_interval()))
    assert (row["level"], row["first"], row["combinations"], row["n"]) == ("0.5", "0.0", 2, 3)
    assert found["left_out"].tolist() == [0, 0, 0]
    assert found["paired"].all()


def test_an_interaction_is_a_difference_of_differences():
    rng = np.random.default_rng(0)
    cells = drawn(rng, rates=2)
    found = effects(table(cells)).loc["dropout.dense=0.25 × norm=batch"]
    a, b, c, d = (np.array(cells[r, n]) for r, n in product((0.25, 0.0), ("batch", "none")))
    each = (a - b) - (c - d)
    assert found["delta"] == pytest.approx(each.mean() / 100)
    assert found["p"] == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    assert (found["factor"], found["other"]) == NAMES
    assert (found["level"], found["other_level"]) == ("0.25", "batch")


@pytest.mark.parametrize("gone", [[], [(0.5, "group")], [(0.0, "group"), (0.25, "batch")]])
def test_levels_are_compared_over_the_combinations_they_share(gone):
    rng = np.random.default_rng(1)
    norms = ("none", "batch", "group")
    cells = {at: values for at, values in drawn(rng, norms=norms).items() if at not in gone}
    found = effects(table(cells))
    flat = {(*at, seed): v for at, values in cells.items() for seed, v in enumerate(values)}
    for rate in (0.25, 0.5):
        each = reference.effect_of_level(flat, rate, 0.0, norms)
        row = found.loc[f"dropout.dense={rate}"]
        assert row["delta"] == pytest.approx(np.mean(each) / 100)
        assert row["p"] == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
        lacking = {norm for level, norm in gone if level in (rate, 0.0)}
        assert row["combinations"] == 3 - len(lacking)


def test_a_seed_with_a_failed_or_diverged_cell_is_left_out_and_counted():
    cells = {at: (*values, 20) for at, values in ERRORS.items()}
    cells[0.5, "batch"] = (7, 8, 9, None)
    found = effects(table(cells))
    pd.testing.assert_frame_equal(
        found.drop(columns="left_out"), effects(table(ERRORS)).drop(columns="left_out")
    )
    assert found["left_out"].tolist() == [1, 1, 1]
    cells[0.0, "none"] = (math.inf, 11, 12, 20)
    assert effects(table(cells))["n"].tolist() == [2, 2, 2]
    short = {at: values[:3] for at, values in cells.items()} | {(0.5, "batch"): (7, 8)}
    assert effects(table(short))["left_out"].tolist() == [2, 2, 2]


def test_without_shared_seeds_each_cell_has_its_own_component():
    cells = drawn(np.random.default_rng(2), rates=2)
    starts = {at: 100 * i for i, at in enumerate(cells)}
    found = effects(table(cells, starts)).loc["norm=batch"]
    assert not found["paired"]
    # Half the sum of two differences of means: each mean has a quarter of its variance.
    variance = sum(np.var(values, ddof=1) / 5 / 4 for values in cells.values()) / 100**2
    half = stats.t.ppf(0.975, 4) * math.sqrt(variance)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half)
    sides = {n: np.mean([cells[r, n] for r in (0.0, 0.25)]) for n in ("none", "batch")}
    assert found["delta"] == pytest.approx((sides["batch"] - sides["none"]) / 100)
    assert (found["n"], found["left_out"]) == (5, 0)


def test_effects_are_corrected_for_the_size_of_their_family():
    rng = np.random.default_rng(3)
    runs = table(drawn(rng, seeds=8))
    alone, together = effects(runs), effects(runs, family=10, margin=0.005)
    assert together["alpha"].tolist() == pytest.approx([0.005] * 5)
    assert (together["low"] < alone["low"]).all()
    np.testing.assert_array_equal(together["ci_low"], alone["low"])
    assert together["p_adjusted"].tolist() == pytest.approx(np.minimum(1, alone["p"] * 10).tolist())
    told = [verdicts.description(r.low, r.high, 0.005) for r in together.itertuples()]
    assert together["description"].tolist() == told


def test_factors_that_are_not_crossed_have_no_effects():
    one_at_a_time = {at: ERRORS[at] for at in ERRORS if at != (0.5, "batch")}
    assert factors.factorial(table(one_at_a_time)) == factors.Factorial()


def test_with_too_many_levels_effects_or_interactions_are_left_out():
    fine = {(i / 16, norm): (1, 2) for i in range(13) for norm in ("none", "batch", "group")}
    found = factors.factorial(table(fine).assign(third=1))
    assert found.effects == ()  # norms are crossed with a knob that has too many values
    many = {(i / 16, f"norm {j}"): (1, 2) for i in range(8) for j in range(7)}
    found = factors.factorial(table(many))
    assert len(found.effects) == 7 + 6
    assert found.lacks == "no interactions are shown: there are too many (42)"


def test_a_knob_that_an_option_lacks_is_not_a_factor(tmp_path):
    from ablate.analyze import frames

    for init, more in [("xavier_normal", {}), ("normal", {"init.std": 0.01})]:
        for norm in ("none", "batch"):
            for seed in range(3):
                write_run(tmp_path, {"init": init, "norm": norm, "seed": seed, **more})
    found = factors.factorial(frames.load(tmp_path))
    assert {name for effect in found.effects for name in effect.factors} == {"init.name", NAMES[1]}


def test_a_null_factor_is_called_an_effect_in_at_most_one_sweep_of_twenty():
    """The rate acts; the norm acts differently in each seed, and not on average."""
    rng = np.random.default_rng(4)
    asked = factors.factorial(table(drawn(rng)))
    null = [effect for effect in asked.effects if "norm" in effect.name]
    each = rng.normal(0, 1, (3, 2, 4000, 5)) + rng.normal(0, 1, (1, 2, 4000, 5))
    values = {(r / 4, n): each[r, i] + r for r in range(3) for i, n in enumerate(("none", "batch"))}
    p = []
    for effect in null:
        cells = np.stack([values[cell] for cell in (*effect.plus, *effect.minus)])
        p.append(by_seed(cells, effect.combinations).p())
    called = (np.min(p, 0) < verdicts.ALPHA / len(null)).mean()
    assert 0.03 < called <= 0.055
