"""Long names of arms get short, distinct labels."""

from __future__ import annotations

from ablate.report.labels import labels

BASE = "dropout.dense=0.0 norm=none optimizer=sgd augment.shift=0"


def test_short_names_are_kept():
    arms = ["norm=none", "norm=batch"]
    assert labels(arms, "norm=none") == {"norm=none": "norm=none", "norm=batch": "norm=batch"}


def test_a_long_name_is_shortened_to_what_differs_from_the_baseline():
    one, two = (
        BASE.replace("norm=none", "norm=batch"),
        BASE.replace("=0.0 norm=none", "=0.5 norm=layer"),
    )
    assert labels([BASE, one, two], BASE) == {
        BASE: "the baseline",
        one: "norm=batch",
        two: "dropout.dense=0.5 norm=layer",
    }


def test_the_users_own_words_are_kept_however_long():
    arms = ["plain", "dropout in each of the dense layers and none before them"]
    assert labels(arms, "plain") == {arm: arm for arm in arms}


def test_labels_that_would_be_cut_to_the_same_text_are_numbered():
    base = "a=0 b=0 model.channels=[8,16,32] model.hidden=[64,64,64] model.kernel_size=3 z=0"
    arms = [
        base,
        "a=1 b=1 model.channels=[64,128,256] model.hidden=[512,512,512] model.kernel_size=5 z=1",
        "a=1 b=1 model.channels=[64,128,256] model.hidden=[512,512,512] model.kernel_size=5 z=2",
    ]
    assert list(labels(arms, base).values()) == [
        "the baseline",
        "arm 2: a=1 b=1 model.channels=[64,128,256] model.hidden=[512,512,512] and 2 more",
        "arm 3: a=1 b=1 model.channels=[64,128,256] model.hidden=[512,512,512] and 2 more",
    ]
