"""Sharpness-aware minimization: descend by the gradient taken at the steepest point within ρ.

When it helps: it finds flatter minima, which generalize better, most where data are few or labels
noisy. It doubles the cost of a step.
Settings: ρ = 0.05, up to 0.2 with other augmentation or label noise.
Source: Foret et al. 2021, arXiv:2010.01412, equation 2 and algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.axis import Stacked, along, norm


def ascent(gradients: Stacked, rho_R: Tensor) -> Stacked:
    """Compute each run's perturbation ρ·g/‖g‖, with the norm over all its parameters.

    Args:
        gradients: name -> [R, ...], of every parameter.
        rho_R: ρ ≥ 0, float64.

    Returns:
        What to add to the parameters. If ρ or the norm is 0 it is -0.0, the one number that changes
        no bit when added.
    """
    norm_R = norm(gradients.values())
    scale_R = torch.where(norm_R == 0, 0, rho_R.to(norm_R.dtype) / norm_R)
    return {
        name: _scaled(gradient, along(scale_R, gradient)) for name, gradient in gradients.items()
    }


def _scaled(gradient: Tensor, scale: Tensor) -> Tensor:
    return torch.where(scale == 0, -0.0, gradient * scale)
