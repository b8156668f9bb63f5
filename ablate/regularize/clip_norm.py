"""Gradient clipping by norm: a run's whole gradient is scaled down to a norm of at most the limit.

When it helps: recurrent and very deep networks, where one steep step would throw the weights far
away. The direction stays, so a limit that seldom acts costs nothing.
Settings: 0.25 to 10; look at the norms of an undisturbed run first. 1 is a common start.
Source: Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, algorithm 1; torch's ``clip_grad_norm_``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.axis import Stacked, along, norm

_EPS = 1e-6  # as in torch


def clip(gradients: Stacked, limit_R: Tensor) -> Stacked:
    """Scale each run's gradients so that their norm over all parameters is at most the limit.

    Args:
        gradients: name -> [R, ...]; not changed.
        limit_R: Largest norm, > 0, float64; infinity for a run without one, which keeps its bits.

    Returns:
        New tensors.
    """
    norm_R = norm(gradients.values())
    limit_R = limit_R.to(norm_R.dtype)
    # Without a limit, ∞ over an infinite norm would turn even finite gradients into NaN.
    share_R = torch.where(limit_R.isinf(), 1, (limit_R / (norm_R + _EPS)).clamp(max=1))
    return {name: gradient * along(share_R, gradient) for name, gradient in gradients.items()}
