"""The central theorem for every technique: a stack of N equals N stacks of one.

What is compared is everything that a run leaves: its weights and buffers, its history, its metrics.
"""

from __future__ import annotations

import functools

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ablate import record
from ablate.config import effect
from ablate.regularize import registry
from tests import techniques
from tests.configs import config
from tests.techniques import SIZES, TECHNIQUES, begun, distance, ended, runs, same, trained

WILD = 1e38  # a learning rate that no network survives

# -- the theorem -----------------------------------------------------------------------------------

# Grouped by technique, whose trainings are kept; else each parallel worker would train them all.
every = pytest.mark.parametrize(
    "name",
    # A technique on dense layers is quick; those with their own network are not.
    [pytest.param(n, marks=pytest.mark.slow) if "model" in c else n for n, c in TECHNIQUES.items()],
    scope="module",
)
both = pytest.mark.parametrize("fused", [False, True], ids=["looped", "fused"])


@every
def test_a_looped_run_has_the_bits_that_it_has_alone(name):
    whole = trained(name, False).left
    for run, left in zip(runs(name), whole, strict=True):
        assert same(ended(begun([run], fused=False))[0], left)
    # Sound, but not a comparison of nothing: the runs themselves differ.
    assert distance(whole[0], whole[1]) > 1e-3


@every
def test_fused_and_looped_agree_in_float32(name):
    assert max(map(distance, trained(name, True).left, trained(name, False).left)) < 1e-5


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.long) if "model" in c else n for n, c in TECHNIQUES.items()],
    scope="module",
)
def test_fused_and_looped_agree_in_float64(name):
    fused, looped = (ended(begun(runs(name, "fp64"), fused=how)) for how in (True, False))
    assert max(map(distance, fused, looped)) < 1e-9


@both
@every
def test_a_training_that_goes_on_from_a_file_has_the_bits_of_an_undisturbed_one(name, fused):
    second = begun(runs(name), fused=fused)
    second.restore(trained(name, fused).states)
    assert all(map(same, ended(second), trained(name, fused).left))


@both
@every
def test_a_run_has_the_same_bits_in_every_slot_and_beside_one_that_diverges(name, fused):
    configs = runs(name)
    wild = configs[0] | {"optimizer": configs[0]["optimizer"] | {"lr": WILD}}
    order = [*range(1, len(configs)), 0]
    moved = ended(begun([configs[1], wild, *(configs[i] for i in order[1:])], fused=fused))
    assert moved.pop(1).metrics == {}
    whole = trained(name, fused).left
    assert all(same(left, whole[i]) for left, i in zip(moved, order, strict=True))


@both
def test_a_run_that_stops_early_leaves_its_mates_bit_identical(fused):
    stopping = runs("regularize: early_stopping")
    patient = [c | {"regularize": c["regularize"] | {"early_stopping": None}} for c in stopping]
    undisturbed = ended(begun(patient, fused=fused))
    mixed = ended(begun([stopping[0], *patient[1:], stopping[1]], fused=fused))
    assert all(map(same, mixed[1:-1], undisturbed[1:]))
    assert len(mixed[-1].history) < patient[0]["epochs"]


# The exceptions: rounding of MKL's products depends on a slice's alignment to 16 bytes, and
# vectorized functions except relu treat the last few numbers of a whole stack separately. So bits
# stay if each slice of weights and activations is a multiple of 4 numbers (of 16 with tanh);
# otherwise they depend on the slot.
@pytest.mark.parametrize(
    ("hidden", "batch", "activation"), [(5, 20, "relu"), (6, 17, "relu"), (5, 17, "tanh")]
)
def test_layers_of_odd_sizes_agree_in_every_slot_to_rounding(hidden, batch, activation):
    changes = {"model.hidden": [hidden], "model.activation": activation}
    changes |= SIZES | {"batch_size": batch}
    configs = [config(seed=i, model="mlp", epochs=2, **changes) for i in range(3)]
    here = ended(begun(configs, fused=True))
    there = ended(begun([*configs[1:], configs[0]], fused=True))
    assert max(map(distance, here, [there[-1], *there[:-1]])) < 1e-5


# -- optimizers that ask for the loss again --------------------------------------------------------


def solved(name, **changes):
    """Make a softmax regression with an L2 penalty on all training images at once."""
    return config(
        **{
            "model": "mlp",
            "model.hidden": [],
            "optimizer": name,
            "schedule": "constant",
            "regularize.l2": 0.01,
            **SIZES,
            "batch_size": SIZES["data.train_size"],
            "epochs": 12,
            "precision": "fp64",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("name", "changes", "tolerance"),
    # L-BFGS ends where the loss falls by less than 1e-9 an iteration.
    [("lbfgs", {}, 1e-3), ("newton", {"optimizer.damping": 1e-9}, 1e-7)],
)
def test_a_solver_finds_the_softmax_regression_that_scikit_learn_finds(name, changes, tolerance):
    training = begun([solved(name, **changes)], fused=False)
    ended(training)
    tensors = training.data
    x, x_test = (tensors.normalized(s.images).flatten(1) for s in (tensors.train, tensors.test))
    # Its loss is C times the sum over images, and half the sum of squared weights.
    theirs = LogisticRegression(
        C=1 / (2 * 0.01 * len(x)), tol=1e-10, solver="newton-cg", max_iter=1000
    )
    theirs.fit(x.numpy(), tensors.train.labels.numpy())
    ours = training.stack.predict(tensors.normalized(tensors.test.images))[0].softmax(-1)
    expected = torch.from_numpy(theirs.predict_proba(x_test.numpy()))
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


@functools.cache
def solved_in_one_go(name):
    return ended(begun([small(name)], fused=False))[0]


def small(name):
    return solved(name, **{"precision": "fp32", "epochs": 6, "model.hidden": [4]})


@pytest.mark.parametrize("stop", [1, 4])
@pytest.mark.parametrize("name", effect.SOLVERS)
def test_a_solver_goes_on_from_a_file_as_if_undisturbed(name, stop, tmp_path):
    first, second = (begun([small(name)], fused=False) for _ in range(2))
    for _ in range(stop):
        first.advance()
    record.save_state(tmp_path, first.state(0))
    second.restore([record.load_state(tmp_path)])
    assert same(ended(second)[0], solved_in_one_go(name))


@pytest.mark.parametrize("table", ["PENALTIES", "GRADIENT_LIMITS", "WEIGHT_LIMITS", "AVERAGES"])
def test_every_regularizer_is_among_the_techniques(table):
    assert set(getattr(registry, table)) <= set(techniques.REGULARIZERS)
