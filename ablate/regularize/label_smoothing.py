"""Label smoothing: the target gives a share ε of its probability to all K classes alike.

When it helps: networks that grow overconfident, on many classes or noisy labels; it betters
calibration more than accuracy. The smoothed loss is not a measure of fit: compare runs by accuracy
or by the plain loss on held-out images.
Settings: ε = 0.1; up to 0.2 for short training.
Source: Szegedy et al. 2016, arXiv:1512.00567, section 7; Müller, Kornblith & Hinton 2019,
arXiv:1906.02629.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits_BK: Tensor, target: dict[str, Tensor]) -> Tensor:
    """Compute one run's mean cross entropy against targets that may be smoothed and mixed.

    Args:
        logits_BK: Logits; those of 16 bits are converted to float32 first.
        target: ``y`` [B], the labels, int64. If smoothed, ``smoothing``: ε in [0, 1],
            0-dimensional. If mixed, ``other`` [B], the labels of the images mixed in, and
            ``share``: the weight of ``y`` in [0, 1], 0-dimensional.

    Returns:
        0-dimensional, in nats: share·H(y) + (1 - share)·H(other), where
        H = (1 - ε)·nll - ε·mean log p. A smoothing of 0 and a share of 1 change no bit.
    """
    low = logits_BK.dtype in (torch.bfloat16, torch.float16)
    log_BK = (logits_BK.float() if low else logits_BK).log_softmax(-1)
    loss = F.nll_loss(log_BK, target["y"])
    if "other" in target:
        share = target["share"].to(log_BK.dtype)
        loss = share * loss + (1 - share) * F.nll_loss(log_BK, target["other"])
    if "smoothing" in target:
        smoothing = target["smoothing"].to(log_BK.dtype)
        loss = (1 - smoothing) * loss - smoothing * log_BK.mean()
    return loss
