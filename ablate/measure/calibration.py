"""Calibration: whether confidence can be trusted, and a temperature that corrects it.

What it does: divides the logits by one number, the temperature, chosen to minimize the loss on the
validation images. Decisions stay the same; confidence comes closer to the share of right answers.
When it helps: networks trained long on few data, which are overconfident; then it is above 1.

Source: Guo et al. 2017, arXiv:1706.04599, sections 2 and 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq
from torch import Tensor

from ablate.train.quality import ECE_BINS

RANGE: Final = (0.01, 100.0)  # of the temperature


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by.

    Attributes:
        value: The temperature, in `RANGE`.
        limited: Whether the loss still falls at that end of the range: all images are right (0.01),
            or the network is worse than no knowledge (100).
    """

    value: float
    limited: bool


def temperature(logits_NK: Tensor, labels_N: Tensor) -> Temperature | None:
    """Fit the temperature at which the mean cross entropy is least.

    The loss is convex in the inverse temperature. Its slope, the mean difference between the
    expected logit and the label's, is brought to zero.

    Args:
        logits_NK: Logits of images that the network was not trained on.
        labels_N: Their labels.

    Returns:
        The temperature; None if a logit is not finite, which no temperature corrects.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 9.
    """
    logits_NK = logits_NK.double()
    if not logits_NK.isfinite().all():
        return None
    own_N = logits_NK.gather(1, labels_N[:, None])[:, 0]

    def slope(inverse: float) -> float:
        p_NK = (logits_NK * inverse).softmax(-1)
        return float(((p_NK * logits_NK).sum(-1) - own_N).mean())

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    if slope(1.0) == 0:
        return Temperature(1.0, limited=False)
    if slope(low) >= 0:
        return Temperature(RANGE[1], limited=True)
    if slope(high) <= 0:
        return Temperature(RANGE[0], limited=True)
    return Temperature(1 / brentq(slope, low, high, xtol=1e-12), limited=False)


def curve(log_NK: Tensor, labels_N: Tensor) -> pd.DataFrame:
    """Compare confidence with the share of right answers, in the bins of the calibration error.

    Args:
        log_NK: Log probabilities.
        labels_N: The labels.

    Returns:
        One row per bin: ``low``, ``high`` (confidence in (low, high]), ``images``, and their mean
        ``confidence`` and ``accuracy``, missing for empty bins.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2, with 15 bins.
    """
    confidence_N, guess_N = (t.cpu() for t in log_NK.double().max(-1))
    confidence_N = confidence_N.exp()
    bin_N = (confidence_N * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    counts = torch.bincount(bin_N, minlength=ECE_BINS).double()
    right_N = (guess_N == labels_N.cpu()).double()
    sums = [torch.bincount(bin_N, w, ECE_BINS) for w in (confidence_N, right_N)]
    edges = np.arange(ECE_BINS + 1) / ECE_BINS
    confidence, accuracy = ((s / counts).numpy() for s in sums)  # 0/0 is missing
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "images": counts.long().numpy(),
            "confidence": confidence,
            "accuracy": accuracy,
        }
    )
