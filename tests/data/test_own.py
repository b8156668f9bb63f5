"""The user's own data set class: what its constructor gets, and what its items may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, TensorDataset

from ablate import data
from ablate.data import own
from ablate.data.reading import selection
from ablate.errors import AblateError
from tests.files import draw

PIXELS, LABELS = draw(12, (3, 8, 8), 3)


class Items:
    """A data set of given items."""

    def __init__(self, items, classes=None):
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def read(make, root="/nowhere", **arguments):
    return own.read(make, arguments, Path(root))


def read_images(images, labels=LABELS, **kwargs):
    items = list(zip(images, labels, strict=True))
    return read(lambda: Items(items, **kwargs))


def refused(make, *words, **arguments):
    with pytest.raises(AblateError) as caught:
        read(make, **arguments)
    message = str(caught.value)
    assert message.startswith(f"data._target_={make.__module__}.{make.__qualname__}")
    assert [word for word in words if word not in message] == []


def channels_last(pixels):
    return np.moveaxis(pixels, 0, -1)


# -- items ----------------------------------------------------------------------------------------

FORMS = {
    "numpy": lambda pixels: pixels,
    "torch": torch.tensor,
    "PIL": lambda pixels: Image.fromarray(channels_last(pixels)),
    "PIL with a palette": lambda pixels: Image.fromarray(channels_last(pixels)).quantize(256),
}


@pytest.mark.parametrize("form", FORMS)
def test_bytes_come_back_as_they_are_in_any_form(form):
    part = read_images([FORMS[form](pixels) for pixels in PIXELS]).parts["train"]
    assert part.images.dtype == np.uint8
    assert part.labels.dtype == np.int64
    np.testing.assert_array_equal(part.images, PIXELS)
    np.testing.assert_array_equal(part.labels, LABELS)


@pytest.mark.parametrize("form", ["numpy", "torch", "PIL"])
def test_grey_images_get_their_channel(form):
    make = {"numpy": np.asarray, "torch": torch.tensor, "PIL": Image.fromarray}[form]
    images = read_images([make(pixels[0]) for pixels in PIXELS]).parts["train"].images
    np.testing.assert_array_equal(images, PIXELS[:, :1])


@pytest.mark.parametrize("make", [np.float64, np.float32, np.float16, torch.tensor])
def test_floating_point_is_kept_as_float32(make):
    values = (PIXELS / 256).astype(np.float16)
    images = read_images([make(value) for value in values]).parts["train"].images
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, values.astype(np.float32))


@pytest.mark.parametrize("make", [int, np.int64, torch.tensor, float, np.uint8])
def test_labels_may_be_any_kind_of_whole_number(make):
    labels = [make(label) for label in LABELS.tolist()]
    np.testing.assert_array_equal(read_images(PIXELS, labels).parts["train"].labels, LABELS)


def test_torchs_own_data_set_is_taken():
    tensors = torch.tensor(PIXELS), torch.tensor(LABELS)
    np.testing.assert_array_equal(
        read(lambda: TensorDataset(*tensors)).parts["train"].images, PIXELS
    )


def test_classes_are_named_by_the_data_set():
    assert read_images(PIXELS, classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert read_images(PIXELS).classes == ("0", "1", "2")
    assert read_images(PIXELS, classes=3).classes == ("0", "1", "2")
    assert read_images(PIXELS, classes=np.arange(3)).classes == ("0", "1", "2")


def test_a_class_that_is_named_and_has_no_image_counts():
    assert read_images(PIXELS, classes=["a", "b", "c", "d"]).classes == ("a", "b", "c", "d")


# -- the constructor ------------------------------------------------------------------------------


def half(first):
    chosen = slice(0, 6) if first else slice(6, 12)
    return Items(list(zip(PIXELS[chosen], LABELS[chosen], strict=True)))


class BySplit:
    def __new__(cls, split):
        return half({"train": True, "test": False}[split])


class ByTrain:
    def __new__(cls, train=True):
        assert isinstance(train, bool)
        return half(train)


@pytest.mark.parametrize("cls", [BySplit, ByTrain])
def test_a_class_that_knows_its_test_images_is_asked_for_them(cls):
    parts = read(cls).parts
    np.testing.assert_array_equal(parts["train"].images, PIXELS[:6])
    np.testing.assert_array_equal(parts["test"].images, PIXELS[6:])
    np.testing.assert_array_equal(parts["test"].labels, LABELS[6:])


def test_a_class_that_does_not_is_one_set():
    assert set(read_images(PIXELS).parts) == {"train"}


def test_the_root_and_further_values_are_passed_on():
    given = []

    def make(root, level, shade="dark"):
        given.append((root, level, shade))
        return half(first=True)

    read(make, root="/photos", level=3)
    assert given == [("/photos", 3, "dark")]


def test_only_foreign_values_of_the_configuration_are_passed_on():
    config = {"name": "custom", "_target_": "a.B", "root": None, "train_size": 3, "level": 4}
    settings = json.loads(selection(config).settings)
    assert settings == {"_target_": "a.B", "labels": None, "level": 4}


def test_a_class_in_the_working_directory_is_found_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "my_own_images.py").write_text(
        "import numpy as np\n"
        "class Squares:\n"
        "    def __init__(self, root, count): self.count = count\n"
        "    def __len__(self): return self.count\n"
        "    def __getitem__(self, i): return np.full((4, 4), i, np.uint8), i % 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    config = {"name": "custom", "_target_": "my_own_images.Squares", "count": 6}
    images = data.read(config).parts["train"].images
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(6))


# -- what is refused ------------------------------------------------------------------------------


def items(images, labels=LABELS, **kwargs):
    """Name the maker of a data set, for `refused`."""

    def make():
        return Items(list(zip(images, labels, strict=True)), **kwargs)

    return make


def changed(values, index, value):
    return [value if i == index else v for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (items([], []), ["train", "empty"]),
        (items(changed(PIXELS, 4, PIXELS[0, :, :5])), ["[3, 5, 8]", "[3, 8, 8]", "one shape"]),
        (items(changed(PIXELS, 4, PIXELS[0] / 255)), ["float32 [3, 8, 8]", "uint8 [3, 8, 8]"]),
        (items(np.moveaxis(PIXELS, 1, -1)), ["image 0", "[8, 8, 3]", "[C, H, W] or [H, W]"]),
        (items(PIXELS[:, 0, 0]), ["image 0", "[8]"]),
        (items(changed(PIXELS / 255, 4, PIXELS[0] * np.nan)), ["image 4", "not finite"]),
        (items(PIXELS, changed(LABELS, 5, 0.5)), ["label 5 is 0.5", "whole numbers"]),
        (
            items(PIXELS, changed(LABELS, 5, "cat")),
            ["train: label 5 is the text 'cat'", "data.labels=map"],
        ),
        (items(PIXELS, changed(LABELS, 5, -1)), ["from -1 to 2", "from 0"]),
        (items(PIXELS, LABELS * 0), ["≥ 2 classes"]),
        (items(PIXELS, classes=["a", "b"]), ["names 2 classes", "label 2"]),
    ],
)
def test_items_that_cannot_be_used_are_told(make, words):
    refused(make, *words)


def test_an_error_in_the_users_class_is_told_with_its_kind():
    def broken():
        raise KeyError("colour")

    refused(broken, "train images", "KeyError: 'colour'")


def test_an_argument_that_the_class_does_not_take_is_told():
    refused(items(PIXELS), "TypeError", "'level'", level=3)


def test_a_stream_of_items_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield PIXELS[0], 0

    refused(Stream, "does not give its train images", "TypeError")


@pytest.mark.parametrize("other", [PIXELS[:, :, :4], PIXELS / 255])
def test_test_images_unlike_the_training_images_are_refused(other):
    def make(train):
        return Items(list(zip(PIXELS if train else other, LABELS, strict=True)))

    refused(make, "train and test images differ", "uint8 [3, 8, 8]")


# -- parts that it offers -------------------------------------------------------------------------


def third(number):
    chosen = slice(4 * number, 4 * number + 4)
    return Items(list(zip(PIXELS[chosen], LABELS[chosen], strict=True)))


PLACES = {"train": 0, "val": 1, "test": 2}


class BySubset:
    def __new__(cls, subset="train"):
        return third(PLACES[subset])


class ByPhase:
    def __new__(cls, size=3, phase: Literal["training", "valid", "testing"] = "training"):
        return third({"training": 0, "valid": 1, "testing": 2}[phase])


class BySplitOfThree:
    def __new__(cls, split):
        return third(PLACES[split])


def by_mapping():
    return {"train": third(0), "validation": third(1), "test": third(2)}


def by_tuple():
    return third(0), third(1), third(2)


@pytest.mark.parametrize("cls", [BySubset, ByPhase, BySplitOfThree, by_mapping, by_tuple])
def test_all_parts_that_a_class_offers_are_used(cls):
    parts = read(cls).parts
    assert set(parts) == {"train", "val", "test"}
    for part, number in PLACES.items():
        np.testing.assert_array_equal(parts[part].images, PIXELS[4 * number : 4 * number + 4])


@pytest.mark.parametrize("name", ["is_train", "training"])
def test_a_truth_value_may_be_called_otherwise(name):
    make = {
        "is_train": lambda is_train=True: half(is_train),
        "training": lambda training: half(training),
    }
    np.testing.assert_array_equal(read(make[name]).parts["test"].images, PIXELS[6:])


def test_a_word_that_means_test_for_whatever_it_does_not_know_gives_no_validation_images():
    def make(split):
        return half(split == "train")

    assert set(read(make).parts) == {"train", "test"}


@pytest.mark.parametrize("value", [0.8, None, 3])
def test_a_parameter_called_split_that_is_no_word_chooses_nothing(value):
    def make(split=value):
        assert split == value
        return Items(list(zip(PIXELS, LABELS, strict=True)))

    assert set(read(make).parts) == {"train"}


def test_a_mode_of_colours_chooses_nothing():
    def make(mode="RGB"):
        assert mode == "RGB"
        return half(first=True)

    assert set(read(make).parts) == {"train"}


def test_a_split_that_the_request_names_is_passed_on():
    given = []

    def letters(split, train=True):  # as torchvision's EMNIST
        given.append((split, train))
        return half(train)

    assert set(read(letters, split="letters").parts) == {"train", "test"}
    assert given == [("letters", True), ("letters", False)]
    assert set(read(BySplit, split="train").parts) == {"train"}


def test_a_set_whose_test_images_fail_says_how_to_take_it_alone():
    def make(split):
        if split != "train":
            raise FileNotFoundError("test.tar")
        return half(first=True)

    refused(make, "does not give its test images", "test.tar", "data.split=train")


class Doubled:
    def __init__(self, by):
        self.by = by

    def __call__(self, pixels):
        return pixels // 2 * self.by


def _doubled(pixels, by):
    return pixels // 2 * by


@pytest.mark.parametrize(
    "transform",
    [
        {"_target_": "tests.data.test_own.Doubled", "by": 2},
        {"_target_": "tests.data.test_own._doubled", "_partial_": True, "by": 2},
    ],
)
def test_an_argument_with_a_target_is_made_as_hydra_does(transform):
    def make(transform):
        return Items([(transform(p), label) for p, label in zip(PIXELS, LABELS, strict=True)])

    images = read(make, transform=transform).parts["train"].images
    np.testing.assert_array_equal(images, PIXELS // 2 * 2)


def test_an_argument_that_is_not_made_is_told():
    with pytest.raises(
        AblateError, match=r"data\.transform\._target_=no\.such\.Thing does not import"
    ):
        read(lambda transform: half(first=True), transform={"_target_": "no.such.Thing"})


# -- channels, and what is random -----------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 4, 7, 12])
def test_any_number_of_channels_is_taken(channels):
    images = np.random.RandomState(0).rand(12, channels, 16, 8).astype(np.float32)
    np.testing.assert_array_equal(read_images(images).parts["train"].images, images)


@pytest.mark.parametrize("shape", [(16, 16, 3), (16, 16, 12), (8, 5, 4)])
def test_channels_behind_the_pixels_are_refused(shape):
    refused(items([np.zeros(shape, np.uint8)] * 12), str(list(shape)), "[C, H, W]")


class Shifting(Items):
    calls = 0

    def __getitem__(self, index):
        type(self).calls += 1
        pixels, label = self.items[index]
        return np.roll(pixels, self.calls, -1), label


class Renaming(Items):
    calls = 0

    def __getitem__(self, index):
        type(self).calls += 1
        pixels, label = self.items[index]
        return pixels, label if self.calls <= len(self.items) else (label + 1) % 3


@pytest.mark.parametrize("cls", [Shifting, Renaming])
def test_items_that_change_are_refused(cls):
    def make():
        return cls(list(zip(PIXELS, LABELS, strict=True)))

    refused(make, "item 0 differs", "__getitem__", "augment.*")
