"""The order of files changes no result of given weights, and training works as well with any."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ablate
from ablate import record, rng
from ablate.config.knobs.looking import EVALUATE
from ablate.config.settings import of_values
from ablate.data import load
from ablate.data.order import by_content
from ablate.data.tensors import Split
from ablate.measure import evaluation
from ablate.measure.evaluate_settings import resolved
from ablate.measure.observe import of_training
from ablate.measure.saved import open_run
from ablate.nets.whiten import Whitening
from ablate.train.batches import Batches
from ablate.train.eval_parts import EVAL_BATCH, eval_parts
from ablate.train.quality import measure_one
from ablate.train.training import Training
from ablate.train.whitening import fit
from tests.configs import config
from tests.techniques import CNN_BATCH, TECHNIQUES, begun, ended, runs

both = pytest.mark.parametrize("fused", [False, True], ids=["looped", "fused"])
BY_BATCH = CNN_BATCH | {"norm.eval": "batch"}


def drawn(count, dtype=torch.uint8, seed=0, shape=(2, 3, 3), classes=4):
    """Draw a split of few pixels and levels, so that equal images are not rare."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, *shape), generator=random).to(dtype)
    return Split(images, torch.randint(0, classes, (count,), generator=random))


def permuted(split, order):
    return Split(split.at(order), split.labels[order])


def sortings(split):
    """Return orders of a file: by class, reversed, and random."""
    by_class = split.labels.argsort(stable=True)
    shuffled = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
    return {"sorted": by_class, "reversed": by_class.flip(0), "shuffled": shuffled}


SORTINGS = ("sorted", "reversed", "shuffled")


def settings(**given):
    return resolved(of_values(EVALUATE, given))


def close(one, other):
    """Compare nested entries to 1e-6."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            close(value, other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for value, its in zip(one, other, strict=True):
            close(value, its)
    else:
        assert one == (pytest.approx(other, abs=1e-6) if isinstance(one, float) else other)


# -- the order -------------------------------------------------------------------------------------


def by_hand(images, labels):
    """Rank images as `by_content` does, in Python's own integers."""

    def signed(x):
        return (x + 2**63) % 2**64 - 2**63

    def mixed(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    def fold(key, number):
        return mixed((key * 0x9E3779B97F4A7C15 + number + 0x632BE59BD9B4E019) % 2**64)

    key = int(rng.stream(0, "data/order")) % 2**64
    weights = [fold(key, place) for place in range(images[0].numel())]
    hashes = []
    for image, label in zip(images, labels, strict=True):
        numbers = image.movedim(0, -1).flatten().tolist()
        total = sum(w * n for w, n in zip(weights, numbers, strict=True))
        hashes.append(signed(fold(total % 2**64, int(label))))
    return sorted(range(len(images)), key=hashes.__getitem__)


def test_images_are_ranked_by_a_hash_of_their_pixels_and_label():
    split = drawn(50)
    assert split.order.tolist() == by_hand(split.images, split.labels)


@given(st.integers(1, 60), st.integers(0, 10**6), st.sampled_from([torch.uint8, torch.float32]))
def test_the_order_is_a_permutation_in_which_that_of_the_file_has_no_part(count, seed, dtype):
    split = drawn(count, dtype, seed)
    assert sorted(split.order.tolist()) == list(range(count))
    for order in sortings(split).values():
        other = permuted(split, order)
        assert torch.equal(other.at(other.order), split.at(split.order))
        assert torch.equal(other.labels[other.order], split.labels[split.order])


def test_equal_images_are_told_apart_by_their_labels_alone():
    labels = torch.arange(7) % 3
    order = by_content([torch.zeros(7, 1, 2, 2, dtype=torch.uint8)], labels)
    assert len(list(itertools.groupby(labels[order].tolist()))) == 3


def test_images_that_differ_in_a_pixel_are_far_apart_half_of_the_time():
    images = torch.zeros(1001, 1, 28, 28, dtype=torch.uint8)
    images.view(1001, -1)[torch.arange(784), torch.arange(784)] = 1
    images.view(1001, -1)[784:, 0] = torch.arange(2, 219)
    order = by_content([images], torch.zeros(1001, dtype=torch.int64))
    assert abs(np.corrcoef(order, range(1001))[0, 1]) < 0.1  # 3 standard errors


def test_the_order_of_many_images_is_that_of_their_hashes_taken_in_parts():
    split = drawn(3000, shape=(1, 14, 14))  # 2^18 pixels are 1337 of them
    some = Split(split.images[1300:1400], split.labels[1300:1400])
    places = [i - 1300 for i in split.order.tolist() if 1300 <= i < 1400]
    assert places == some.order.tolist()


# -- parts of an evaluation ------------------------------------------------------------------------


@given(st.integers(1, 2600))
def test_parts_by_content_are_equal_but_for_an_image_and_others_are_of_500(count):
    split = Split(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.arange(count))
    for by_content_ in (False, True):
        found = list(eval_parts(split, by_content=by_content_))
        sizes = [len(images) for _, images in found]
        assert len(sizes) == math.ceil(count / EVAL_BATCH)
        assert max(sizes) <= EVAL_BATCH
        seen = torch.cat([split.labels[where] for where, _ in found])
        assert sorted(seen.tolist()) == list(range(count))
        if by_content_:
            assert max(sizes) - min(sizes) <= 1
        else:
            assert sizes[:-1] == [EVAL_BATCH] * (len(sizes) - 1)
            assert seen.tolist() == list(range(count))


@both
def test_a_split_of_501_images_leaves_no_image_by_itself(fused):
    changes = BY_BATCH | {"data.train_size": 501, "data.val_size": 501, "optimizer.lr": 0.01}
    configs = [config(seed=seed, epochs=1, batch_size=100, **changes) for seed in range(2)]
    (one, _) = ended(Training(configs, load(configs[0]), fused=fused))
    assert all(math.isfinite(one.metrics[f"{split}/loss"]) for split in ("train", "val"))


# -- the same weights ------------------------------------------------------------------------------


EVALUATED = [
    *(name for name in TECHNIQUES if name.startswith(("norm", "augment: test", "dropout: bern"))),
    *("network: mlp", "network: resnet of depth 9", "network: whitening"),
    "regularize: swa with batch norm",
]


def of_two_parts():
    """Take a thousand digits for a test split, which is evaluated in two parts."""
    return load(config(**{"data.train_size": 1000})).train


@both
@pytest.mark.parametrize("name", EVALUATED)
def test_scores_are_the_same_however_a_file_is_sorted(name, fused):
    training = begun(runs(name)[:2], fused=fused)
    training.advance()
    split = of_two_parts()
    with training.scores.in_place(training.step):
        expected = training.scores.of(split)
        for order in sortings(split).values():
            close(training.scores.of(permuted(split, order)), expected)


class Standardized(torch.nn.Module):
    """A user's network whose outputs depend on the batch."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(64, 10)

    def forward(self, x):
        y = self.line(x.flatten(1))
        return (y - y.mean(0)) / y.std(0)


def test_a_network_of_the_users_may_depend_on_the_batch():
    own = {"model": {"name": "custom", "_target_": "tests.data.test_order.Standardized"}}
    split, one = of_two_parts(), config(epochs=1, **own, **{"data.train_size": 100})
    training = Training([one], load(one), fused=False)
    expected = training.scores.of(split)
    for order in sortings(split).values():
        close(training.scores.of(permuted(split, order)), expected)


MEASURED = {
    "batch norm": ["norm=batch", "norm.eval=batch", "model.channels=[3,4]", "model.hidden=[8]"],
    "plain": ["model=mlp", "model.hidden=[12]"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_an_evaluation_of_a_run_is_the_same_however_the_file_is_sorted(name, tmp_path):
    run = ["data.train_size=128", "epochs=1", "dropout.dense=0.25", "augment=shift"]
    ablate.run([*MEASURED[name], *run, "augment.test_views=2", f"out={tmp_path}"])
    (folder,) = record.find(tmp_path)
    saved = open_run(folder, record.read(folder), "cpu")
    split = of_two_parts()
    wanted = settings(views=2, samples=2, draws=1, worst=3)

    def measured(test):
        return evaluation.measure(replace(saved, data=replace(saved.data, test=test)), wanted)

    expected = measured(split)
    assert set(expected.entries) > {"views", "dropout", "deletion", "correlation", "perturbation"}
    for order in sortings(split).values():
        found = measured(permuted(split, order))
        close(found.entries, expected.entries)
        numbers = ["loss", "confidence", "entropy", "information"]
        before, after = (f.frames["predictions"][numbers] for f in (expected, found))
        np.testing.assert_allclose(after, before.iloc[order.numpy()], rtol=0, atol=1e-6)


def test_a_saved_run_has_the_bits_of_its_record_where_the_batch_counts(tmp_path):
    ablate.run([*MEASURED["batch norm"], "data.train_size=501", "epochs=1", f"out={tmp_path}"])
    (folder,) = record.find(tmp_path)
    found = record.read(folder)
    saved = open_run(folder, found, "cpu")
    for name in ("train", "val", "test"):
        split = saved.split(name)
        measured = measure_one(saved.logits(split), split.labels)
        assert measured == {k: found["metrics"][f"{name}/{k}"] for k in measured}


# -- training --------------------------------------------------------------------------------------


def sorted_data(one):
    """Load the data of a configuration, as they are and with training images in each order."""
    data = load(one)
    orders = sortings(data.train)
    return data, [replace(data, train=permuted(data.train, orders[how])) for how in SORTINGS]


def test_statistics_are_taken_of_the_same_batches_however_training_images_are_sorted():
    one = config(**CNN_BATCH | {"optimizer.lr": 0.01, "data.train_size": 490, "batch_size": 100})
    data, others = sorted_data(one)
    expected = list(Batches([one], data).plain())
    assert [len(batch) for batch in expected] == [100] * 4
    for other in others:
        found = list(Batches([one], other).plain())
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_batch_of_statistics_is_a_sample_of_all_classes():
    one = config(**CNN_BATCH | {"optimizer.lr": 0.01, "data.train_size": 900, "batch_size": 100})
    _, (by_class, *_) = sorted_data(one)
    labels = by_class.train.labels[by_class.train.order].split(100)
    assert all(len(some.unique()) == 10 for some in labels)


def test_whitening_is_fitted_to_the_same_images_however_they_are_sorted():
    split = drawn(5050, shape=(1, 4, 4))
    data = replace(load(config()), train=split)
    filters = []
    for order in (torch.arange(len(split)), *sortings(split).values()):
        layer = Whitening(1, 2)
        fit([layer], replace(data, train=permuted(split, order)))
        filters.append(layer.weight.detach())
    assert all(torch.equal(filters[0], other) for other in filters[1:])


def test_the_images_that_are_inspected_are_the_same_however_they_are_sorted():
    one = config(**CNN_BATCH | {"optimizer.lr": 0.01, "dropout.dense": 0.5})
    data, others = sorted_data(one)
    expected = of_training(Training([one], data, fused=False), images=50)
    for other in others:
        close(of_training(Training([one], other, fused=False), images=50), expected)


WELL = {"model": "cnn", "model.channels": [4, 8], "model.hidden": [16], "optimizer.lr": 0.02}
TRAINED = {
    "plain": {"model": "mlp", "model.hidden": [32]},
    "batch norm of the batch": WELL | {"norm": "batch", "norm.eval": "batch"},
    "swa with batch norm": WELL | {"norm": "batch", "regularize.swa": 0.5},
    "whitening": WELL | {"model.whiten": 2},
    "mixup and cutmix": {"regularize.mixup": 0.4, "regularize.cutmix": 1.0},
    "augmentation": {"augment": "shift", "augment.test_views": 3},
    "the best weights": {"select": "best"},
}


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_sorted_training_images_train_as_well_as_shuffled_ones(name):
    mlp = {"model": "mlp", "model.hidden": [32], "optimizer.lr": 0.02, "epochs": 6}
    changes = mlp | {"data.train_size": 800, "data.val_size": 100, "batch_size": 50}
    configs = [config(seed=seed, **changes | TRAINED[name]) for seed in range(20)]
    _, (by_class, _, shuffled) = sorted_data(configs[0])
    errors = [
        [one.metrics["test/error"] for one in ended(Training(configs, each, fused=True))]
        for each in (by_class, shuffled)
    ]
    difference = np.subtract(*errors)
    low, high = stats.t.interval(0.999, 19, difference.mean(), stats.sem(difference))
    assert low <= 0 <= high
