"""Max-norm: after each step each unit's incoming weights are scaled back to a norm of at most c.

When it helps: with dropout and a large learning rate, whose noise it lets explore without weights
that blow up; alone it does little.
Settings: c from 3 to 4 for dense layers.
Source: Srivastava et al. 2014, JMLR 15, section 5.1 (‖w‖₂ ≤ c) and appendix A.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ablate.axis import Stacked, along, pairwise


@torch.no_grad()
def project(weights: Stacked, limit_R: Tensor) -> Tensor:
    """Bring the incoming weights of each unit back to the limit, in place.

    Args:
        weights: name -> [R, units, ...]: a unit's incoming weights are all the later axes.
        limit_R: Largest norm c > 0, float64; infinity for a run without one. Units within the
            limit keep their bits.

    Returns:
        Whether any unit of the run was beyond the limit, bool [R].
    """
    beyond_R = torch.zeros_like(limit_R, dtype=torch.bool)
    for weight in weights.values():
        norm = pairwise(weight.square().flatten(2)).sqrt()
        norm = norm.view(*norm.shape, *[1] * (weight.dim() - 2))
        limit = along(limit_R, weight)
        beyond = norm > limit
        beyond_R |= beyond.flatten(1).any(1)
        weight.mul_(torch.where(beyond, limit / norm, 1))
    return beyond_R
