"""Gradient clipping by value: each element of the gradient is cut to [-limit, limit].

When it helps: single steep elements in recurrent networks. It bends the direction of the step, so
clipping by norm is the first choice.
Settings: 0.1 to 10.
Source: Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, section 3.2, on Mikolov 2012, who cut each
element; torch's ``clip_grad_value_``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.axis import Stacked, along


def clip(gradients: Stacked, limit_R: Tensor) -> Stacked:
    """Cut every element to the limit.

    Args:
        gradients: name -> [R, ...]; not changed.
        limit_R: Largest absolute value, > 0, float64; infinity for a run without one, which keeps
            its bits.

    Returns:
        New tensors.
    """
    return {name: _cut(gradient, along(limit_R, gradient)) for name, gradient in gradients.items()}


def _cut(gradient: Tensor, limit: Tensor) -> Tensor:
    return torch.clamp(gradient, -limit, limit)
