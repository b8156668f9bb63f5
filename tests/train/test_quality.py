"""Loss, accuracy and calibration against torch, scikit-learn, a plain loop and arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, log_loss

from ablate.train.quality import ECE_BINS, averaged, calibration_error, measure
from tests import reference

SIZES = {"runs": st.integers(1, 4), "images": st.integers(1, 60), "classes": st.integers(2, 10)}


def logits_and_labels(runs, images, classes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(100 * images + classes)
    logits_RNK = 3 * torch.randn(runs, images, classes, generator=generator, dtype=dtype)
    return logits_RNK, torch.randint(classes, (images,), generator=generator)


@given(**SIZES)
def test_the_loss_is_torchs_cross_entropy(runs, images, classes):
    logits_RNK, labels_N = logits_and_labels(runs, images, classes)
    expected = torch.stack([F.cross_entropy(logits_NK, labels_N) for logits_NK in logits_RNK])
    torch.testing.assert_close(measure(logits_RNK, labels_N)["loss"], expected)


@given(**SIZES)
def test_loss_accuracy_and_error_agree_with_scikit_learn(runs, images, classes):
    logits_RNK, labels_N = logits_and_labels(runs, images, classes)
    found = measure(logits_RNK, labels_N)
    for r, logits_NK in enumerate(logits_RNK.numpy()):
        guesses, all_classes = logits_NK.argmax(-1), range(classes)
        loss = log_loss(labels_N, softmax(logits_NK, -1), labels=all_classes)
        assert float(found["loss"][r]) == pytest.approx(loss)
        assert float(found["accuracy"][r]) == pytest.approx(accuracy_score(labels_N, guesses))
        assert float(found["error"][r]) == pytest.approx(1 - accuracy_score(labels_N, guesses))


@given(**SIZES)
def test_the_calibration_error_agrees_with_a_loop_over_the_bins(runs, images, classes):
    logits_RNK, labels_N = logits_and_labels(runs, images, classes)
    found = measure(logits_RNK, labels_N)["ece"]
    for r, logits_NK in enumerate(logits_RNK.numpy()):
        confidence = softmax(logits_NK, -1).max(-1).tolist()
        right = (logits_NK.argmax(-1) == labels_N.numpy()).tolist()
        assert float(found[r]) == pytest.approx(reference.calibration_error(confidence, right))


def test_the_calibration_error_agrees_with_scikit_learns_curve():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0, 1, 2000)
    right = (generator.uniform(0, 1, 2000) < confidence**2).astype(float)
    accuracy, mean = calibration_curve(right, confidence, n_bins=ECE_BINS)
    counts, _ = np.histogram(confidence, ECE_BINS, (0, 1))
    expected = (counts / 2000 * np.abs(accuracy - mean)).sum()
    found = calibration_error(torch.tensor(confidence)[None], torch.tensor(right)[None])
    assert found.tolist() == pytest.approx([expected])


def test_there_are_fifteen_bins():
    assert ECE_BINS == 15


# -- by hand ---------------------------------------------------------------------------------------


def error_of(confidence, right):
    both = torch.tensor([confidence, right], dtype=torch.float64)
    return float(calibration_error(both[:1], both[1:]))


def test_faults_of_one_bin_cancel_and_those_of_two_bins_add():
    # 0.90 and 0.92 share the bin (0.867, 0.933]: |1.82 - 1| / 2.
    assert error_of([0.90, 0.92], [1.0, 0.0]) == pytest.approx(0.41)
    # 0.50 and 0.90 lie apart: (|0.5 - 1| + |0.9 - 0|) / 2.
    assert error_of([0.50, 0.90], [1.0, 0.0]) == pytest.approx(0.70)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    # 0.2 is the upper edge of the third bin, where 0.15 lies: |0.35 - 1| / 2.
    assert error_of([0.15, 0.2], [1.0, 0.0]) == pytest.approx(0.325)
    assert error_of([0.95, 1.0], [1.0, 0.0]) == pytest.approx(0.475)


def test_certainty_that_is_always_right_is_calibrated():
    found = measure(torch.tensor([[[200.0, 0.0], [0.0, 200.0]]]), torch.tensor([0, 1]))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"loss": 0, "accuracy": 1, "error": 0, "ece": 0, "brier": 0}
    )


def test_a_network_that_knows_nothing_has_the_loss_log_k():
    found = measure(torch.zeros(2, 10, 4), torch.zeros(10, dtype=torch.int64))
    assert found["loss"].tolist() == pytest.approx([math.log(4)] * 2)
    # All guess the first class, which is right, at the confidence 1/4.
    assert found["accuracy"].tolist() == [1, 1]
    assert found["ece"].tolist() == pytest.approx([0.75] * 2)


# -- robustness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_logits_are_measured_in_double_precision(dtype):
    logits_RNK, labels_N = logits_and_labels(2, 50, 5, dtype)
    found, exact = measure(logits_RNK, labels_N), measure(logits_RNK.double(), labels_N)
    for name, value in found.items():
        assert value.dtype == torch.float64
        assert torch.equal(value, exact[name])


def test_enormous_logits_have_a_finite_loss():
    found = measure(torch.tensor([[[1e4, 0.0, -1e4]]]), torch.tensor([2]))
    assert float(found["loss"]) == pytest.approx(2e4)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_diverged_run_measures_nan_and_leaves_its_mates_alone(bad):
    logits_RNK, labels_N = logits_and_labels(3, 20, 4)
    sound = measure(logits_RNK, labels_N)
    logits_RNK[1] = bad
    found = measure(logits_RNK, labels_N)
    assert math.isnan(found["loss"][1])
    assert math.isnan(found["ece"][1])
    for name in sound:
        assert torch.equal(found[name][[0, 2]], sound[name][[0, 2]])


def test_the_brier_score_is_the_squared_distance_of_probabilities_from_the_label():
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]]])
    found = measure(logits, torch.tensor([0, 1]))
    # (1/2, 1/2) against (1, 0): 1/4 + 1/4; (3/4, 1/4) against (0, 1): 9/16 + 9/16
    assert float(found["brier"]) == pytest.approx((1 / 2 + 9 / 8) / 2)


def test_several_views_are_averaged_as_probabilities():
    one, other = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    mean = (one.softmax(-1) + other.softmax(-1)) / 2
    assert torch.allclose(averaged([one, other]).exp(), mean)
    assert averaged([one]) is one
