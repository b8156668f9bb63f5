"""Splits by content: stratified, of the size asked for, and steady when images are added."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablate import data
from ablate.config import files
from ablate.data.content_split import ClassCount, allotted, class_counts, val_counts
from ablate.data.content_split import test_counts as counts_for_test
from ablate.data.fact_cache import facts_of
from ablate.errors import AblateError
from ablate.plan.planning import plan
from ablate.plan.request import Request
from ablate.plan.run import key
from ablate.report.command_lines import overrides
from tests.files import draw, write_folder, write_image

SPLITS = ("train", "val", "test")
SIZES = st.lists(st.integers(1, 25), min_size=2, max_size=6).filter(lambda sizes: sum(sizes) > 9)


def source_of(labels, contents, **given_parts):
    """Make a source whose images hold only a number, their content."""
    return data.Source(
        {"train": part_of(labels, contents), **given_parts}, tuple(map(str, range(max(labels) + 1)))
    )


def part_of(labels, contents):
    numbers = np.array(contents, np.uint64)
    content = np.zeros((len(labels), 16), np.uint8)
    content[:, :8] = numbers.view(np.uint8).reshape(-1, 8)
    return data.Part(numbers.reshape(-1, 1, 1, 1), np.array(labels, np.int64), content)


def divided(source, seed=None, **sizes):
    facts = facts_of(source)
    wanted = data.sizes("folder", facts.counts, **sizes, by_class=facts.by_class)
    return data.split(source, wanted, seed, by="content"), wanted


def places(source, seed=None, **sizes):
    """Tell in which split each image is, by its content."""
    parts, _ = divided(source, seed, **sizes)
    return {int(n): name for name, part in parts.items() for n in part.images.ravel()}


def classes_of(sizes):
    return [label for label, size in enumerate(sizes) for _ in range(size)]


def unlike(number, seed):
    return np.random.RandomState(seed).permutation(10 * number)[:number].tolist()


# -- what a split holds ----------------------------------------------------------------------------


@given(SIZES, st.integers(0, 100))
def test_splits_are_disjoint_and_hold_everything(sizes, seed):
    labels = classes_of(sizes)
    contents = unlike(len(labels), seed)
    parts, wanted = divided(source_of(labels, contents))
    assert [len(parts[name].labels) for name in SPLITS] == [wanted.train, wanted.val, wanted.test]
    everything = [int(n) for part in parts.values() for n in part.images.ravel()]
    assert sorted(everything) == sorted(contents)
    of = dict(zip(contents, labels, strict=True))
    for part in parts.values():
        assert part.labels.tolist() == [of[int(n)] for n in part.images.ravel()]


@given(SIZES, st.integers(0, 100))
def test_classes_of_three_or_more_appear_in_every_split_and_in_their_share(sizes, seed):
    labels = classes_of(sizes)
    parts, _ = divided(source_of(labels, unlike(len(labels), seed)))
    for label, size in enumerate(sizes):
        held = [int((parts[name].labels == label).sum()) for name in SPLITS]
        if size >= 3:
            assert min(held) >= 1
            assert held[2] == max(1, int(size / 5 + 0.5))
            assert held[1] == max(1, size // 5)
        assert held[0] >= 1


@given(SIZES, st.data())
def test_the_sizes_asked_for_are_exact_and_smaller_training_sets_are_subsets(sizes, drawn):
    labels = classes_of(sizes)
    source = source_of(labels, unlike(len(labels), 1))
    _, usual = divided(source)
    pool = usual.train + usual.val
    val_size = drawn.draw(st.integers(0, pool - 1))
    large = drawn.draw(st.integers(1, pool - val_size))
    small = drawn.draw(st.integers(1, large))
    larger, smaller = (divided(source, train_size=n, val_size=val_size)[0] for n in (large, small))
    assert [len(larger[name].labels) for name in SPLITS] == [large, val_size, usual.test]
    assert set(smaller["train"].images.ravel()) <= set(larger["train"].images.ravel())
    for name in ("val", "test"):
        np.testing.assert_array_equal(smaller[name].images, larger[name].images)


def test_a_size_that_is_the_usual_one_changes_nothing():
    source = source_of(classes_of([8, 13, 5]), unlike(26, 3))
    _, usual = divided(source)
    assert places(source, val_size=usual.val) == places(source)
    assert places(source, train_size=usual.train) == places(source)


@given(SIZES, st.integers(0, 100))
def test_neither_the_order_of_files_nor_their_names_matter(sizes, seed):
    labels = classes_of(sizes)
    contents = unlike(len(labels), seed)
    order = np.random.RandomState(seed).permutation(len(labels))
    mixed = source_of([labels[i] for i in order], [contents[i] for i in order])
    assert places(mixed) == places(source_of(labels, contents))


def test_seeds_draw_splits_that_share_no_more_than_chance_has_it():
    source = source_of(classes_of([100] * 10), unlike(1000, 0))
    tests = []
    for seed in (None, 0, 1):
        tests.append({n for n, name in places(source, seed).items() if name == "test"})
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # 200 of 1000 each: 40 in common, of a hypergeometric deviation of 5.1.
        assert 20 < len(tests[one] & tests[other]) < 60


def test_what_the_files_fix_is_kept():
    given_test = part_of([0, 1] * 5, range(900, 910))
    source = source_of(classes_of([30, 50]), unlike(80, 0), test=given_test)
    parts, _ = divided(source)
    assert parts["test"] is given_test
    assert np.bincount(parts["val"].labels).tolist() == [3, 5]  # a tenth
    given_val = part_of([0, 1] * 5, range(920, 930))
    both = source_of(classes_of([30, 50]), unlike(80, 0), test=given_test, val=given_val)
    parts, _ = divided(both, val_size=4)
    assert len(parts["train"].labels) == 80
    assert np.bincount(parts["val"].labels).tolist() == [2, 2]


# -- one image more --------------------------------------------------------------------------------


def moved(sizes, label, new, seed=None, **wanted):
    """Add an image to a class; count by class which others are now in another split."""
    labels = classes_of(sizes)
    contents = unlike(len(labels), 7)
    before = places(source_of(labels, contents), seed, **wanted)
    after = places(source_of([*labels, label], [*contents, new]), seed, **wanted)
    of = dict(zip(contents, labels, strict=True))
    return Counter(of[n] for n in contents if before.get(n) != after.get(n))


@given(SIZES, st.integers(10**6, 10**7), st.data())
def test_an_image_that_is_added_moves_at_most_two_of_its_class_and_none_of_another(
    sizes, new, drawn
):
    label = drawn.draw(st.integers(0, len(sizes) - 1))
    found = moved(sizes, label, new, drawn.draw(st.sampled_from([None, 0, 5])))
    assert set(found) <= {label}
    assert found[label] <= 2


@given(SIZES, st.integers(10**6, 10**7), st.data())
def test_with_a_size_of_validation_it_moves_at_most_two_of_any_class(sizes, new, drawn):
    label = drawn.draw(st.integers(0, len(sizes) - 1))
    val_size = drawn.draw(st.integers(0, sum(size // 3 for size in sizes)))
    found = moved(sizes, label, new, val_size=val_size)
    assert max(found.values(), default=0) <= 2


def test_an_image_added_to_a_folder_of_a_thousand_moves_at_most_two(tmp_path):
    root = tmp_path / "photos"
    write_folder(root, images=1000, classes=tuple("abcdefghij"), shape=(1, 8, 8))
    config = files.option("data", "folder") | {"root": str(root), "image_size": 8}

    def tests():
        data.forget()
        source = data.read(config)
        parts, _ = divided(source)
        return {i.tobytes(): n for n, part in parts.items() for i in part.images}

    before = tests()
    counts = []
    for number, pixels in enumerate(draw(1, (1, 8, 8), 1, seed=9).images):
        write_image(root / "c" / f"00{number}.png", pixels)  # among the first of its class
        after = tests()
        counts.append(sum(after[image] != split for image, split in before.items()))
        before = after
    assert max(counts) <= 2, counts


def test_what_decides_a_split_is_part_of_the_digest(tmp_path):
    write_folder(tmp_path / "photos", images=12)
    config = files.option("data", "folder") | {"root": str(tmp_path / "photos"), "image_size": 8}
    before = data.read(config)
    path = tmp_path / "photos" / "cats" / "0000.png"
    with Image.open(path) as image:
        image.save(path, compress_level=0)  # the same pixels in another file
    data.forget()
    after = data.read(config)
    np.testing.assert_array_equal(after.parts["train"].images, before.parts["train"].images)
    assert after.digest != before.digest


# -- copies ----------------------------------------------------------------------------------------


@given(SIZES, st.integers(0, 100), st.integers(1, 8))
def test_images_that_are_equal_fall_on_one_side(sizes, seed, copies):
    labels = classes_of(sizes)
    contents = unlike(len(labels), seed)
    for _ in range(copies):
        chosen = np.random.RandomState(seed).randint(len(labels))
        labels.append(labels[chosen])
        contents.append(contents[chosen])
    parts, wanted = divided(source_of(labels, contents))
    sides = [set(part.images.ravel().tolist()) for part in parts.values()]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert [len(parts[name].labels) for name in SPLITS] == [wanted.train, wanted.val, wanted.test]


def test_copies_are_trained_on_and_counted():
    part = part_of([0, 0, 0, 1, 1, 1], [1, 1, 2, 3, 4, 2])
    assert class_counts(part, 2) == (ClassCount(3, 0), ClassCount(3, 2))


def test_images_without_files_are_ranked_by_their_pixels():
    drawn = draw(30, (1, 8, 8), 3)
    source = data.Source({"train": data.Part(drawn.images, drawn.labels)}, ("a", "b", "c"))
    by_class = class_counts(source.parts["train"], 3)
    wanted = data.sizes("folder", {"train": 30}, by_class=by_class)
    assert wanted == data.Sizes(18, 6, 6)
    assert len(data.split(source, wanted, by="content")["test"].labels) == 6


# -- shares, worked out by hand --------------------------------------------------------------------


def counts_of(*sizes):
    return [ClassCount(size, size) for size in sizes]


def test_a_fifth_of_each_class_is_tested_on_and_a_fifth_validated_on():
    counts = counts_of(1, 2, 3, 5, 8, 100)
    test = counts_for_test(counts)
    assert test == [0, 1, 1, 1, 2, 20]
    assert val_counts(counts, test, Fraction(1, 5), None) == [0, 0, 1, 1, 1, 20]


def test_places_are_shared_out_as_sainte_lague_does():
    # 53, 24 and 23 votes for 7 seats: Balinski & Young's textbook case gives 3, 2, 2.
    assert allotted(7, [53, 24, 23], [7, 7, 7], [False] * 3) == [3, 2, 2]
    # Each class first: 97, 2 and 1 images for 4 places.
    assert allotted(4, [97, 2, 1], [97, 2, 1], [True] * 3) == [2, 1, 1]


def test_too_few_images_for_a_test_are_refused():
    source = source_of([0, 1], [1, 2])
    with pytest.raises(AblateError, match="too few"):
        divided(source)


# -- in a request ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("split") / "photos"
    write_folder(root, images=60)
    return str(root)


def run_of(photos, *more):
    request = Request(("data=folder", f"data.root={photos}", "data.image_size=8", *more))
    (run,) = plan(request).runs
    return run


def test_the_kind_of_split_is_part_of_the_key_and_older_keys_are_those_by_order(photos):
    new, old = run_of(photos), run_of(photos, "data.split_by=order")
    assert new.config["data"]["split_by"] == "content"
    assert new.key != old.key
    assert old.digest == data.read({"name": "folder", "root": photos, "image_size": 8}).digest
    older = {k: v for k, v in old.config["data"].items() if k != "split_by"}
    assert key({**old.config, "data": older}, old.digest) == old.key


def test_the_command_of_an_older_run_asks_for_the_split_by_order(photos):
    config = run_of(photos).config
    older = {k: v for k, v in config["data"].items() if k != "split_by"}
    assert overrides({**config, "data": older})["data.split_by"] == "order"
    assert "data.split_by" not in overrides(config)


def test_a_kind_of_split_that_has_nothing_to_divide_is_refused(tmp_path):
    write_folder(tmp_path / "photos", parts=("train", "val", "test"))
    with pytest.raises(AblateError, match=r"data\.split_by=order touches nothing"):
        run_of(tmp_path / "photos", "data.split_by=order")
