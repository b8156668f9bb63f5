"""Labels of the user's own data: numbered, or refused with the item and what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ablate.data.labels import numbered
from ablate.errors import AblateError


def keep(train, test=(), classes=()):
    return numbered({"train": train} | ({"test": test} if len(test) else {}), classes, "keep")


def mapped(train, test=()):
    return numbered({"train": train} | ({"test": test} if len(test) else {}), (), "map")


def test_whole_numbers_from_0_stay_as_they_are():
    labels, classes, notes = keep([0, 2, 1, 0], [1, 2])
    assert labels["train"].tolist() == [0, 2, 1, 0]
    assert labels["test"].tolist() == [1, 2]
    assert labels["train"].dtype == np.int64
    assert (classes, notes) == (("0", "1", "2"), [])


@pytest.mark.parametrize("make", [int, float, np.uint8, np.float32, torch.tensor, lambda n: [n]])
def test_any_kind_of_whole_number_is_one(make):
    assert keep([make(0), make(1)])[0]["train"].tolist() == [0, 1]


def test_names_without_images_are_told():
    _, classes, notes = keep([0, 1, 0], classes=("a", "b", "c", "d"))
    assert classes == ("a", "b", "c", "d")
    assert notes == ["the data set names 4 classes, 2 without images: c, d"]


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([0, 10, 20, 30], (), ["0, 10, 20, 30", "31 outputs", "27 would never", "data.labels=map"]),
        ([0, 100, 200], (), ["201 outputs", "198 would never be trained", "data.labels=map"]),
        ([1, 2, 3], (), ["1, 2, 3", "4 outputs", "1 would never", "data.labels=map"]),
        ([-1, 0, 1], (), ["from -1 to 1", "data.labels=map"]),
        ([5, 5], (), ["≥ 2 classes"]),
        ([0, 1], [2], ["no training image has the label 2"]),
        (range(834), (), ["834 different labels on 834 images", "regression", "data.labels=map"]),
        ([0, 1, 2.5], (), ["train: label 2 is 2.5", "no regression", "data.labels=map"]),
        ([0, 1], [0, np.nan], ["test: label 1 is nan"]),
        ([0, "cat"], (), ["train: label 1 is the text 'cat'", "data.labels=map"]),
        ([0, None], (), ["train: label 1 is None"]),
        ([[0, 1, 0]], (), ["train: label 0 is one-hot (3 numbers, a 1 at 1)", "label.argmax()"]),
        ([torch.eye(4)[2]], (), ["is one-hot (4 numbers, a 1 at 2)"]),
        ([[1, 1, 0]], (), ["names 2 of 3 classes at once", "a data set for each class"]),
        ([[0, 0, 0]], (), ["names 0 of 3 classes at once"]),
        ([[3, 4]], (), ["train: label 0 has the shape [2]"]),
        ([{"id": 3, "name": "x"}], (), ["label 0 is a dictionary with id, name"]),
        ([object()], (), ["train: label 0 is <object"]),
    ],
)
def test_labels_that_cannot_be_used_are_refused(train, test, words):
    with pytest.raises(AblateError) as caught:
        keep(train, test)
    assert [word for word in words if word not in str(caught.value)] == [], caught.value


def test_more_labels_than_names_are_refused():
    with pytest.raises(AblateError, match="names 2 classes, but has the label 2"):
        keep([0, 1, 2], classes=("a", "b"))


def test_numbers_are_mapped_in_their_order():
    labels, classes, notes = mapped([30, 0, 10, 20], [10])
    assert labels["train"].tolist() == [3, 0, 1, 2]
    assert labels["test"].tolist() == [1]
    assert classes == ("0", "10", "20", "30")
    assert notes == ["labels are numbered in their order: 0 is 0, 10 is 1, 20 is 2, 30 is 3"]


def test_texts_are_mapped_in_their_order():
    labels, classes, _ = mapped(["dog", "cat", "dog"])
    assert labels["train"].tolist() == [1, 0, 1]
    assert classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([3, 3], (), "all training images have the label 3"),
        ([0, "cat"], (), "some labels are text and others numbers"),
        ([0, 1], [1, 7], "test: label 1 is 7, but no training image has it"),
    ],
)
def test_what_cannot_be_mapped_is_refused(train, test, words):
    with pytest.raises(AblateError, match=words):
        mapped(train, test)
