"""Exponential average of the weights: evaluate a moving average of the last 1/(1 - d) steps.

When it helps: large or constant learning rates, whose noise it averages away; it often replaces the
end of a decay schedule, and steadies validation scores from epoch to epoch.
Settings: d = 0.99 to 0.9999; 1/(1 - d) should be a small part of all steps.
Source: Polyak & Juditsky 1992, SIAM J. Control Optim. 30(4); Tarvainen & Valpola 2017,
arXiv:1703.01780, section 2; torch's ``get_ema_multi_avg_fn``.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from ablate.axis import Step
from ablate.regularize.averaging import Weighting

OFF: Final = 0.0


def weighting(decay_R: Tensor, steps: int) -> Weighting:
    """Return the weighting of steps for each run's d; the number of steps plays no part."""
    return Weighting(partial(weight, decay_R))


def weight(decay_R: Tensor, step: Step) -> Tensor:
    """Compute the weight of a step in the average: 1 - d, and 1 at the first step.

    Args:
        decay_R: d in [0, 1), float64; 0 for a run without averaging.
        step: Number of the step, from 0.
    """
    return torch.where(torch.as_tensor(step == 0), torch.ones_like(decay_R), 1 - decay_R)
