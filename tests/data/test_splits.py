"""The fixed splits: disjoint, exhaustive, stratified, nested, always the same."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from ablate import data
from ablate.data.splits import stratified_order, untrained
from ablate.errors import AblateError
from tests.configs import config

LABELS = st.lists(st.integers(0, 6), min_size=10, max_size=150).map(np.array)
# One class with nearly everything, and many with an image or two.
SKEWED = st.tuples(st.integers(20, 300), st.lists(st.integers(1, 2), min_size=1, max_size=25)).map(
    lambda drawn: np.repeat(np.arange(len(drawn[1]) + 1), [drawn[0], *drawn[1]])
)


def source_of(labels, *given_parts):
    """Make a source whose images hold only their number."""
    numbers = np.arange(len(labels)).reshape(-1, 1, 1, 1)
    part = data.Part(numbers, np.asarray(labels))
    return data.Source(dict.fromkeys(("train", *given_parts), part), tuple("0123456"))


def numbers(part):
    return part.images.ravel().tolist()


def divided(source, name="digits", **sizes):
    counts = {part: len(p.labels) for part, p in source.parts.items()}
    return data.split(source, data.sizes(name, counts, **sizes))


def excess(order, labels):
    """The largest distance of any class's count from its share, over all prefixes of an order."""
    of_class = labels[order][:, None] == np.unique(labels)
    share = of_class.mean(0)
    places = np.arange(1, len(labels) + 1)[:, None]
    return np.abs(of_class.cumsum(0) - places * share).max()


# -- the stratified order -------------------------------------------------------------------------


@given(st.one_of(LABELS, SKEWED))
def test_every_prefix_holds_each_class_to_less_than_one_image(labels):
    order = stratified_order(labels)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert excess(order, labels) < 1


@given(LABELS)
def test_the_order_is_the_same_whatever_generators_were_seeded_with(labels):
    orders = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        orders.append(stratified_order(labels).tolist())
    assert orders[0] == orders[1]


@given(LABELS)
def test_the_order_asks_only_which_labels_are_equal_and_less(labels):
    assert stratified_order(labels).tolist() == stratified_order(labels * 3 + 5).tolist()


def test_the_order_is_shuffled_within_a_class():
    order = stratified_order(np.zeros(1000, np.int64))
    # Kendall's tau of a random order of 1000 has deviation 0.021.
    rising = sum(int((order[i + 1 :] > order[i]).sum()) for i in range(1000))
    assert abs(rising / (1000 * 999 / 2) - 0.5) < 0.05


# -- splits ---------------------------------------------------------------------------------------


@given(LABELS, st.data())
def test_splits_are_disjoint_and_of_the_sizes_asked_for(labels, drawn):
    source = source_of(labels)
    pool = len(labels) - round(len(labels) / 5)
    val_size = drawn.draw(st.integers(0, pool - 1))
    train_size = drawn.draw(st.integers(1, pool - val_size))
    parts = divided(source, train_size=train_size, val_size=val_size)
    assert list(parts) == ["train", "val", "test"]
    assert [len(numbers(part)) for part in parts.values()][:2] == [train_size, val_size]
    everything = [number for part in parts.values() for number in numbers(part)]
    assert len(everything) == len(set(everything))
    for part in parts.values():
        np.testing.assert_array_equal(part.labels, labels[numbers(part)])


@given(LABELS)
def test_splits_hold_every_image_where_no_size_is_asked_for(labels):
    parts = divided(source_of(labels))
    everything = [number for part in parts.values() for number in numbers(part)]
    assert sorted(everything) == list(range(len(labels)))


@given(st.one_of(LABELS, SKEWED))
def test_the_test_split_is_stratified_to_one_image_and_the_others_to_two(labels):
    allowed = {"test": 1, "val": 2, "train": 2}
    for name, part in divided(source_of(labels)).items():
        for label in np.unique(labels):
            share = (labels == label).mean() * len(part.labels)
            assert abs((part.labels == label).sum() - share) < allowed[name]


@given(LABELS, st.data())
def test_a_smaller_training_set_is_a_subset_and_leaves_val_and_test_alone(labels, drawn):
    source = source_of(labels)
    whole = divided(source)
    large = drawn.draw(st.integers(1, len(whole["train"].labels)))
    small = drawn.draw(st.integers(1, large))
    larger, smaller = (divided(source, train_size=size) for size in (large, small))
    assert set(numbers(smaller["train"])) <= set(numbers(larger["train"]))
    for name in ("val", "test"):
        assert numbers(smaller[name]) == numbers(whole[name])


@given(LABELS, st.integers(0, 7))
def test_a_given_test_set_is_kept_and_only_validation_is_taken_from_training(labels, val_size):
    parts = divided(source_of(labels, "test"), val_size=val_size)
    assert numbers(parts["test"]) == list(range(len(labels)))
    assert sorted(numbers(parts["train"]) + numbers(parts["val"])) == list(range(len(labels)))
    assert len(numbers(parts["val"])) == val_size


@given(LABELS, st.integers(1, 10))
def test_a_given_validation_set_can_be_cut_down_and_leaves_training_alone(labels, val_size):
    source = source_of(labels, "test", "val")
    whole, cut = divided(source), divided(source, val_size=val_size)
    assert numbers(whole["val"]) == numbers(whole["train"]) == list(range(len(labels)))
    assert numbers(cut["train"]) == numbers(whole["train"])
    assert len(set(numbers(cut["val"]))) == val_size


# -- drawn anew -----------------------------------------------------------------------------------


def redrawn(source, seed, name="digits", **sizes):
    counts = {part: len(p.labels) for part, p in source.parts.items()}
    return data.split(source, data.sizes(name, counts, **sizes), seed)


@given(st.one_of(LABELS, SKEWED), st.integers(0, 2**40))
def test_a_split_drawn_anew_is_as_stratified_and_the_same_each_time(labels, seed):
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert excess(order, labels) < 1
    assert order.tolist() == stratified_order(labels, seed).tolist()


def test_seeds_draw_splits_that_share_no_more_than_chance_has_it():
    source = source_of(np.arange(1000) % 10)
    tests = [set(numbers(parts["test"])) for parts in (divided(source), redrawn(source, 0))]
    tests.append(set(numbers(redrawn(source, 1)["test"])))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # 200 of 1000 each: 40 in common, of a hypergeometric deviation of 5.1.
        assert 20 < len(tests[one] & tests[other]) < 60


def test_what_the_files_fix_stays_when_a_split_is_drawn_anew():
    source = source_of(np.arange(100) % 7, "test")
    fixed, drawn = divided(source, val_size=20), redrawn(source, 3, val_size=20)
    assert numbers(drawn["test"]) == numbers(fixed["test"])
    assert numbers(drawn["val"]) != numbers(fixed["val"])
    assert sorted(numbers(drawn["train"]) + numbers(drawn["val"])) == list(range(100))
    given_both = source_of(np.arange(100) % 7, "test", "val")
    assert numbers(redrawn(given_both, 3)["val"]) == list(range(100))


@pytest.mark.parametrize(
    ("counts", "wanted", "drawn"),
    [
        ({"train": 100}, (60, 20, 20), True),
        ({"train": 100, "test": 50}, (90, 10, 50), True),
        ({"train": 100, "test": 50}, (100, 0, 50), False),
        ({"train": 100, "val": 9, "test": 50}, (100, 9, 50), False),
        ({"train": 100, "val": 9, "test": 50}, (100, 0, 50), False),
        ({"train": 100, "val": 9, "test": 50}, (100, 5, 50), True),
        ({"train": 100, "val": 9, "test": 50}, (99, 9, 50), True),
    ],
)
def test_whether_there_is_anything_to_draw(counts, wanted, drawn):
    assert data.is_drawn(counts, data.Sizes(*wanted)) == drawn


def test_a_run_trains_on_the_split_that_its_seed_draws():
    fixed, drawn, again = (
        data.load(config(device="cpu", precision="fp32", **{"seeds.split": seed}))
        for seed in (None, 5, 5)
    )
    assert again is drawn
    assert len(drawn.test) == len(fixed.test) == 359
    assert not torch.equal(drawn.test.images, fixed.test.images)
    assert not torch.equal(drawn.mean, fixed.mean)


# -- sizes, worked out by hand --------------------------------------------------------------------

WITH_TEST = {"train": 60_000, "test": 10_000}


@pytest.mark.parametrize(
    ("name", "counts", "wanted", "expected"),
    [
        ("digits", {"train": 1797}, {}, (1079, 359, 359)),
        ("folder", {"train": 10}, {}, (6, 2, 2)),
        ("mnist", WITH_TEST, {}, (55_000, 5_000, 10_000)),
        ("kmnist", WITH_TEST, {}, (55_000, 5_000, 10_000)),
        ("fashion_mnist", WITH_TEST, {}, (55_000, 5_000, 10_000)),
        ("cifar10", {"train": 50_000, "test": 10_000}, {}, (45_000, 5_000, 10_000)),
        ("cifar100", {"train": 50_000, "test": 10_000}, {}, (45_000, 5_000, 10_000)),
        ("mnist", WITH_TEST, {"val_size": 0}, (60_000, 0, 10_000)),
        ("mnist", WITH_TEST, {"train_size": 1000}, (1000, 5_000, 10_000)),
        ("mnist", WITH_TEST, {"val_size": 59_999}, (1, 59_999, 10_000)),
        ("folder", {"train": 30, "val": 7, "test": 9}, {}, (30, 7, 9)),
        ("folder", {"train": 30, "val": 7, "test": 9}, {"val_size": 7}, (30, 7, 9)),
    ],
)
def test_sizes(name, counts, wanted, expected):
    assert data.sizes(name, counts, **wanted) == data.Sizes(*expected)


@pytest.mark.parametrize(
    ("counts", "wanted", "words"),
    [
        (WITH_TEST, {"val_size": 60_000}, "data.val_size=60000 leaves none of the 60000"),
        (WITH_TEST, {"val_size": 60_000}, "from 0 to 59999"),
        (WITH_TEST, {"train_size": 55_001}, "data.train_size=55001 is more than there are"),
        (WITH_TEST, {"train_size": 55_001}, "has 55000 training images beside 5000"),
        ({"train": 30, "val": 7, "test": 9}, {"val_size": 8}, "more than the 7 validation images"),
        ({"train": 30, "val": 7, "test": 9}, {"train_size": 31}, "has 30 training images"),
        ({"train": 2}, {}, "has 2 images, too few"),
    ],
)
def test_sizes_that_cannot_be_had_are_refused_with_what_there_is(counts, wanted, words):
    with pytest.raises(AblateError) as caught:
        data.sizes("mnist", counts, **wanted)
    assert words in str(caught.value)


def test_digits_are_split_60_20_20_with_every_digit_in_its_share():
    parts = divided(data.read({"name": "digits"}))
    share = np.bincount(load_digits().target) / 1797
    for name, size in {"train": 1079, "val": 359, "test": 359}.items():
        assert len(parts[name].labels) == size
        np.testing.assert_allclose(np.bincount(parts[name].labels), share * size, atol=1)


def test_a_class_that_is_only_tested_on_is_told():
    parts = {
        "train": source_of([0, 0, 1]).parts["train"],
        "val": source_of([0]).parts["train"],
        "test": source_of([2, 2, 1]).parts["train"],
    }
    assert untrained(parts, ("cats", "dogs", "eels")) == [
        "no training image is of class eels, but 0 validation and 2 test images are: such a class"
        " needs more images"
    ]
