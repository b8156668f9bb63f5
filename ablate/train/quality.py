"""Measures the quality of logits, for all runs of a stack at once.

`ablate.metrics` has the names of the numbers, and says which side is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ECE_BINS = 15


def measure(logits_RNK: Tensor, labels_N: Tensor) -> dict[str, Tensor]:
    """Measure a split.

    Args:
        logits_RNK: Logits of all images of the split.
        labels_N: Their labels, int64.

    Returns:
        float64 [R] each: ``loss`` (mean cross entropy in nats), ``accuracy``, ``error`` and ``ece``
        as fractions, ``brier`` (mean squared distance between the probabilities and the one-hot
        label, in [0, 2]; Brier 1950).
    """
    return graded(logits_RNK, labels_N)[0]


def graded(logits_RNK: Tensor, labels_N: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Measure a split as `measure` does, and tell which images were right, bool [R, N]."""
    logits_RNK = logits_RNK.double()
    log_RNK = logits_RNK.log_softmax(-1)
    loss_R = -log_RNK.gather(-1, labels_N.expand(len(log_RNK), -1)[..., None]).mean((-2, -1))
    confidence_RN, guess_RN = log_RNK.max(-1)
    is_right_RN = guess_RN == labels_N
    right_RN = is_right_RN.double()
    accuracy_R = right_RN.mean(-1)
    ece_R = calibration_error(confidence_RN.exp(), right_RN)
    p_RNK = log_RNK.exp()
    right_p_RN = p_RNK.gather(-1, labels_N.expand(len(p_RNK), -1)[..., None])[..., 0]
    brier_R = (p_RNK.square().sum(-1) + 1 - 2 * right_p_RN).mean(-1)
    found = {
        "loss": loss_R,
        "accuracy": accuracy_R,
        "error": 1 - accuracy_R,
        "ece": ece_R,
        "brier": brier_R,
    }
    return found, is_right_RN


def measure_one(logits_NK: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Measure the logits, or log probabilities, of one run as `measure` does."""
    return {name: float(value_R[0]) for name, value_R in measure(logits_NK[None], labels_N).items()}


def averaged(logits: Sequence[Tensor]) -> Tensor:
    """Average the probabilities of several views of the same images.

    Args:
        logits: Logits [R, N, K] of each view.

    Returns:
        Logarithms of the mean probabilities, [R, N, K]; a single view's logits are returned as is.
    """
    if len(logits) == 1:
        return logits[0]
    logs = torch.stack([each.double().log_softmax(-1) for each in logits])
    return logs.logsumexp(0) - math.log(len(logits))


def calibration_error(confidence_RN: Tensor, right_RN: Tensor) -> Tensor:
    """Compute the expected calibration error over 15 equal bins of confidence.

    Args:
        confidence_RN: Largest probability of each image, in (0, 1].
        right_RN: Whether the prediction is right, 0 or 1.

    Returns:
        [R]: mean over images of |mean confidence - accuracy| of the image's bin.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3; bins (a, b].
    """
    bin_RN = (confidence_RN * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    # On the CPU, which adds in a fixed order; on a GPU it would depend on the threads.
    gap_RK = torch.zeros(len(bin_RN), ECE_BINS, dtype=torch.float64)
    # A diverged run's NaN would give an illegal bin; its result is NaN even with the bin clamped.
    bin_RN = bin_RN.cpu().clamp(0, ECE_BINS - 1)
    gap_RK.scatter_add_(-1, bin_RN, (confidence_RN - right_RN).cpu())
    return (gap_RK.abs().sum(-1) / confidence_RN.shape[-1]).to(confidence_RN.device)
