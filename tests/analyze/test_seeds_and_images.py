"""New seeds and new images: which images runs got right, the crossed estimator, resplitting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ablate
from ablate import data, record
from ablate.analyze import crossed, frames, intervals, naming, resampled, verdicts
from ablate.analyze.contrasts import contrasts
from ablate.analyze.looks import ClaimLook
from ablate.analyze.resampled import Splits
from ablate.config import schema
from ablate.errors import AblateError
from ablate.plan.planning import plan
from ablate.plan.request import Request
from ablate.report.compare import compare
from ablate.report.legend import legend
from ablate.report.wording import verdict
from ablate.study.claim import Claim
from simulations.seeds_and_images import simulate
from tests import reference
from tests.analyze.test_frames import ABOUT, write_run
from tests.asking import train_all
from tests.configs import config
from tests.files import write_folder


def bits(*rows):
    """Parse answers written as text, one word per network."""
    return np.array([[letter == "1" for letter in row] for row in rows])


# -- the estimator ---------------------------------------------------------------------------------

# d is +1 +1 0 0 for one seed and +1 0 0 -1 for the other: means 1/2 and 0 over images; 1, 1/2, 0
# and -1/2 over seeds. Seeds: (1/8)/2 = 1/16. Images: (5/12)/4 = 5/48. The residuals are all ±1/4:
# (1/2)/(1 · 3)/8 = 1/48.
X, Y = bits("1110", "1010"), bits("0010", "0011")


def test_the_parts_of_the_error_by_hand():
    found = crossed.paired(X, Y)
    assert (found.variance, found.interaction) == pytest.approx((5 / 48, 1 / 48))
    assert found.added(paired=True) == pytest.approx(4 / 48)
    seeds = intervals.paired(X.mean(1), Y.mean(1)).components[0].variance
    assert seeds == pytest.approx(1 / 16)


def answers(n):
    images = st.shared(st.integers(2, 9), key="images")
    return images.flatmap(
        lambda i: st.lists(st.lists(st.booleans(), min_size=i, max_size=i), min_size=n, max_size=n)
    )


@given(st.integers(2, 5).flatmap(lambda n: st.tuples(answers(n), answers(n))))
def test_with_shared_seeds_the_parts_agree_with_the_obvious_sums(both):
    x, y = (np.array(one) for one in both)
    d = (x.astype(int) - y).tolist()
    found = crossed.paired(x, y)
    _, images, interaction = reference.crossed(d)
    assert (found.variance, found.interaction) == pytest.approx((images, interaction), abs=1e-14)


@given(answers(3), answers(2))
def test_without_shared_seeds_each_arm_has_its_interaction(mine, theirs):
    x, y = np.array(mine), np.array(theirs)
    found = crossed.unpaired(x, y)
    difference = x.mean(0) - y.mean(0)
    assert found.variance == pytest.approx(difference.var(ddof=1) / len(difference))
    parts = [reference.crossed(one.astype(float).tolist())[2] for one in (x, y)]
    assert found.interaction == pytest.approx(sum(parts), abs=1e-14)
    assert found.apart == found.interaction


def test_images_that_vary_less_than_the_interaction_add_nothing():
    # Each image is right under one seed and wrong under the other: no image is easier.
    found = crossed.paired(bits("10", "01"), bits("00", "00"))
    assert found.variance == 0 < found.interaction
    assert found.added(paired=True) == 0


def test_two_networks_are_compared_by_mcnemars_exact_test():
    # 8 images were right in only one network, 7 of them in x: p = 2 (1 + 8) / 256.
    x, y = bits("111111101"), bits("000000011")
    assert crossed.paired(x, y).p == pytest.approx(18 / 256)
    assert math.isnan(crossed.paired(X, Y).p)


@given(answers(1), answers(1))
def test_mcnemars_test_agrees_with_the_sum_of_probabilities(mine, theirs):
    found = crossed.paired(np.array(mine), np.array(theirs))
    assert found.p == pytest.approx(reference.mcnemar(mine[0], theirs[0]))


@pytest.mark.parametrize(("n", "spread"), [(3, 0.028), (3, 0.35), (12, 0.08)])
def test_the_interval_over_seeds_and_images_has_its_stated_coverage(n, spread):
    # 1,200 data sets give the standard error to within 2 %, and coverage to within 0.6 points.
    found = simulate(n, spread, images=300, data_sets=1200, seed=7)
    for ratio, coverage in (found.paired, found.unpaired):
        assert ratio == pytest.approx(1, abs=0.08)
        assert coverage > 0.93


# -- contrasts -------------------------------------------------------------------------------------

IMAGES = 400  # as in the records of these tests


def write(folder, arm, seed, right, *, keep=True, images=IMAGES, **changes):
    """Write a run with its answers, one bool per image."""
    accuracy = float(np.mean(right))
    metrics = {"test/error": 1 - accuracy, "test/accuracy": accuracy, "test/loss": 1 - accuracy**2}
    about = ABOUT | {"sizes": {"train": 1000, "val": 100, "test": images}}
    changes = {"seed": seed, "dropout.dense": arm} | changes
    place = write_run(folder, changes, metrics=metrics, environment={"data": about})
    if keep:
        record.finish(place, record.read(place), None, correct=np.array(right))
    return place


def drawn(arm, seed, images=IMAGES):
    """Draw answers: images differ in how easy they are, and arm 0.5 gets fewer right."""
    ease = np.random.default_rng(0).normal(1, 1, images)
    own = np.random.default_rng([1, int(10 * arm), seed]).normal(0, 0.5, images)
    return ease + own - arm > 0


def sweep(folder, seeds=5, **how):
    return {
        (arm, seed): write(folder, arm, seed, drawn(arm, seed), **how)
        for arm in (0.0, 0.5)
        for seed in range(seeds)
    }


def rows(folder, **asked):
    found = contrasts(frames.load(folder), np.random.default_rng(0), **asked)
    return found.set_index("metric")


def test_intervals_of_error_and_accuracy_cover_new_images_and_others_only_seeds(tmp_path):
    sweep(tmp_path)
    found = rows(tmp_path)
    assert found["population"].to_dict() == found["population"].to_dict() | {
        "test/error": "seeds and images",
        "test/accuracy": "seeds and images",
        "test/loss": "seeds",
        "seconds": "seeds",
    }
    d = [
        [int(b) - int(a) for a, b in zip(drawn(0.5, s), drawn(0.0, s), strict=True)]
        for s in range(5)
    ]
    seeds, images, interaction = reference.crossed(d)
    half = math.sqrt(
        stats.t.ppf(0.975, 4) ** 2 * seeds + stats.t.ppf(0.975, 399) ** 2 * (images - interaction)
    )
    row, other = found.loc["test/error"], found.loc["test/accuracy"]
    assert row["high"] - row["low"] == pytest.approx(2 * half)
    assert row["se_seeds"] == pytest.approx(math.sqrt(seeds))
    assert row["se_images"] == pytest.approx(math.sqrt(images))
    assert row["se"] == pytest.approx(math.sqrt(seeds + images - interaction))
    assert (other["low"], other["high"]) == pytest.approx((-row["high"], -row["low"]))
    assert other["p"] == pytest.approx(row["p"])
    loss = found.loc["test/loss"]
    assert loss["se"] == loss["se_seeds"]
    assert math.isnan(loss["se_images"])


def test_p_is_the_level_at_which_the_interval_ends_at_0(tmp_path):
    sweep(tmp_path)
    p = rows(tmp_path).loc["test/error", "p"]
    at = rows(
        tmp_path,
        look=lambda *_: ClaimLook(p),
        claims=[Claim(arm="dropout.dense=0.5", metric="test/error")],
    )
    assert at.loc["test/error", "low"] == pytest.approx(0, abs=1e-9)


def test_arms_without_shared_seeds_still_share_the_images(tmp_path):
    for seed in range(4):
        write(tmp_path, 0.0, seed, drawn(0.0, seed))
        write(tmp_path, 0.5, 100 + seed, drawn(0.5, 100 + seed))
    row = rows(tmp_path).loc["test/error"]
    one, other = (
        reference.crossed([drawn(arm, s).astype(float).tolist() for s in some])
        for arm, some in ((0.0, range(4)), (0.5, range(100, 104)))
    )
    assert not row["paired"]
    assert row["population"] == "seeds and images"
    assert row["se_seeds"] == pytest.approx(math.sqrt(one[0] + other[0]))
    added = row["se_images"] ** 2 - one[2] - other[2]
    assert row["se"] == pytest.approx(math.sqrt(one[0] + other[0] + added))


def _without_a_file(places):
    (places[0.5, 2] / "correct.npy").unlink()


def _cut_off(places):
    file = places[0.5, 2] / "correct.npy"
    file.write_bytes(file.read_bytes()[:100])


def _of_another_record(places):
    (places[0.5, 2] / "correct.npy").write_bytes((places[0.0, 0] / "correct.npy").read_bytes())


@pytest.mark.parametrize("damage", [_without_a_file, _cut_off, _of_another_record])
def test_if_a_run_lacks_answers_arms_are_compared_over_seeds_only(tmp_path, damage):
    damage(sweep(tmp_path))
    row = rows(tmp_path).loc["test/error"]
    assert row["population"] == "seeds"
    d = [drawn(0.0, s).mean() - drawn(0.5, s).mean() for s in range(5)]
    assert row["p"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


def test_runs_on_different_images_are_compared_over_seeds_only(tmp_path):
    sweep(tmp_path, seeds=3)
    for arm in (0.0, 0.5):
        write(tmp_path, arm, 3, drawn(arm, 3, 300), images=300)
    assert rows(tmp_path).loc["test/error", "population"] == "seeds"


def test_one_seed_compares_two_networks_and_gives_no_verdict(tmp_path):
    sweep(tmp_path, seeds=1)
    claim = Claim(arm="dropout.dense=0.5", metric="test/error", direction="higher")
    row = rows(tmp_path, claims=[claim]).loc["test/error"]
    expected = reference.mcnemar(drawn(0.5, 0).tolist(), drawn(0.0, 0).tolist())
    assert row["p_networks"] == pytest.approx(expected)
    assert row["verdict"] == verdicts.OPEN
    assert row["population"] == "seeds"
    assert math.isnan(row["p"])
    told = verdict(compare([tmp_path]))
    assert "these two networks" in told
    assert "nothing about other seeds" in told


def test_the_report_says_which_population_it_is_about(tmp_path):
    sweep(tmp_path / "a")
    both = compare([tmp_path / "a"])
    assert verdict(both).endswith("over new seeds and new images.")
    assert any("new seeds and new test images" in sentence for sentence in legend(both, ["last"]))
    sweep(tmp_path / "b", keep=False)
    seeds = compare([tmp_path / "b"])
    assert verdict(seeds).endswith("over new seeds, on this test set.")
    assert any("over new seeds only" in sentence for sentence in legend(seeds, ["last"]))


# -- resplitting -----------------------------------------------------------------------------------


def test_nadeau_and_bengios_error_by_hand():
    # Differences 1, 2, 3: variance 1, error √(1/3 + 1/4).
    x = np.array([1.0, 2.0, 3.0])
    found = resampled.paired(x, np.zeros(3), Splits("abc", "abc", 0.25))
    assert found.error == pytest.approx(math.sqrt(1 / 3 + 1 / 4))
    low, high = found.interval(0.05)
    half = stats.t.ppf(0.975, 2) * math.sqrt(7 / 12)
    assert (low[0], high[0]) == pytest.approx((2 - half, 2 + half))


def test_runs_that_share_a_split_count_once():
    x, splits = np.array([1.0, 3.0, 2.0, 6.0, 5.0]), ["a", "a", "b", "b", "c"]
    found = resampled.paired(x, np.zeros(5), Splits(splits, splits, 1 / 3))
    centre, error = reference.resampled(x.tolist(), splits, 1 / 3)
    assert (found.centre[0], found.error[0]) == pytest.approx((centre, error))
    assert found.components[0].freedom == 2


def test_arms_with_one_split_each_cannot_be_separated_from_their_splits():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 4.0])
    found = resampled.unpaired(x, y, Splits("aaa", "bbb", 0.25))
    assert np.isnan(found.p()).all()


def test_contrasts_over_several_splits_are_corrected_and_cover_only_seeds(tmp_path):
    for arm in (0.0, 0.5):
        for seed in range(5):
            write(tmp_path, arm, seed, drawn(arm, seed), **{"seeds.split": seed})
    found = rows(tmp_path)
    row = found.loc["test/error"]
    d = [drawn(0.0, s).mean() - drawn(0.5, s).mean() for s in range(5)]
    _, error = reference.resampled(d, list(range(5)), 400 / 1000)
    assert (row["population"], row["se"]) == ("seeds", pytest.approx(error))
    assert row[["p_permutation", "p_wilcoxon"]].isna().all()
    assert found.loc["seconds", "population"] == "seeds"
    assert any("Nadeau" in note for note in compare([tmp_path]).notes)


def test_one_split_for_all_runs_changes_nothing_whichever_it_is(tmp_path):
    sweep(tmp_path / "a")
    sweep(tmp_path / "b", **{"seeds.split": 4})
    one, other = (rows(tmp_path / name).loc["test/error"] for name in "ab")
    assert other["population"] == "seeds and images"
    assert (other["low"], other["high"]) == (one["low"], one["high"])


# -- runs keep their answers -----------------------------------------------------------------------

SMALL = ("model=mlp", "model.hidden=[8]", "epochs=1", "data.train_size=200", "launch=inline")


def trained(*overrides):
    runs, _ = train_all(Request((*SMALL, *overrides), multirun=True))
    return [run.directory for run in runs]


def kept(folder, images=359):
    found = np.load(folder / "correct.npy", allow_pickle=False)
    assert found.shape == (-(-images // 8),)
    return np.unpackbits(found, count=images).astype(bool)


@pytest.mark.parametrize("width", [1, 4])
def test_each_run_keeps_which_test_images_its_weights_classify_correctly(
    tmp_path, monkeypatch, width
):
    monkeypatch.chdir(tmp_path)
    folders = trained("seed=0,1,2", f"stack.width={width}", "select=best", "epochs=3")
    for folder in folders:
        found = record.read(folder)
        assert found["environment"]["stack"]["fused"] == (width > 1)
        test = data.load(found["config"])
        logits = ablate.load_model(folder)(test.normalized(test.test.images))
        expected = (logits.argmax(-1) == test.test.labels).numpy()
        # One image may be a near tie between two classes: fused kernels differ in the last bits.
        assert (kept(folder) != expected).sum() <= (1 if width > 1 else 0)
        assert kept(folder).mean() == pytest.approx(found["metrics"]["test/accuracy"])
    assert (kept(folders[0]) != kept(folders[1])).any()


def test_training_a_run_again_sets_its_old_answers_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder,) = trained()
    before = (folder / "correct.npy").read_bytes()
    assert trained("rerun=all") == [folder]
    assert (
        (folder / "correct.1.npy").read_bytes() == before == (folder / "correct.npy").read_bytes()
    )
    assert not list(folder.glob(".correct*"))


def test_a_run_that_diverged_has_no_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder,) = trained("optimizer=sgd", "optimizer.lr=1e30", "epochs=2")
    assert record.read(folder)["status"] == "diverged"
    assert not (folder / "correct.npy").exists()


# -- the seed of the split, in a request -----------------------------------------------------------


def planned(*overrides):
    return [run.config["seeds"]["split"] for run in plan(Request(overrides, multirun=True)).runs]


def keys(*overrides):
    return [run.key for run in plan(Request(overrides, multirun=True)).runs]


def test_the_split_is_fixed_unless_it_is_set_to_follow_the_seed():
    assert planned("seed=0,1") == [None, None]
    assert planned("seed=0,1", "seeds.split=seed") == [0, 1]
    assert planned("seed=1", "seeds.split=0,1") == [0, 1]
    assert keys("seed=0,1", "seeds.split=seed")[1] == keys("seed=1", "seeds.split=1")[0]
    assert len({*keys("seed=1"), *keys("seed=1", "seeds.split=0,1")}) == 3


def test_the_split_is_part_of_what_makes_runs_a_pair():
    both = [config(seed=3, **{"seeds.split": split}) for split in (None, 3)]
    assert naming.replicates([schema.flatten(one) for one in both]) == ["3", "3 split=3"]


def test_a_split_that_the_files_fix_is_refused(tmp_path):
    write_folder(tmp_path, parts=("train", "val", "test"))
    with pytest.raises(AblateError, match=r"seeds\.split=2 touches nothing: the files of"):
        planned("data=folder", f"data.root={tmp_path}", "data.image_size=8", "seeds.split=2")
