"""Mixup: train on weighted means of two images, with the labels weighted alike.

When it helps: image classifiers that memorize; it smooths the function between classes and resists
label noise. It slows fitting: give it more epochs, and less of the other regularizers.
Settings: α = 0.1 to 0.4 where underfitting looms, 1 on CIFAR-10.
Source: Zhang et al. 2018, arXiv:1710.09412, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate import rng


def shares(alpha: float, key: Tensor, steps: int) -> Tensor:
    """Draw the weight λ of the first image at each step.

    Args:
        alpha: α > 0 of the Beta(α, α) distribution.
        key: Key of the stream, 0-dimensional.
        steps: Number of steps T.

    Returns:
        float64 [T] in [0, 1], by the inverse distribution function; the first numbers do not change
        with more steps.
    """
    from scipy.special import betaincinv  # here, since it takes half a second and few runs need it

    uniform_T = rng.uniform(key, torch.Size((steps,)))
    return torch.as_tensor(betaincinv(alpha, alpha, uniform_T.cpu().numpy())).to(key.device)
