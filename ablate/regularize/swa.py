"""Stochastic weight averaging: the plain mean of the weights of all steps from some step on.

When it helps: long training at a constant or cyclic rate, which wanders around a flat region whose
middle generalizes better. Batch norm's running statistics belong to the weights they were measured
with: measure them anew with the mean weights.
Settings: start after 75 % of training, with a learning rate that does not decay to 0.
Source: Izmailov et al. 2018, arXiv:1803.05407, algorithm 1, with a cycle of one step.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor

from ablate.axis import Step
from ablate.config.course import first_averaged
from ablate.regularize.averaging import Weighting

OFF: Final = 1.0  # begins when training is over


def weighting(start_R: Tensor, steps: int) -> Weighting:
    """Return the weighting of steps.

    Args:
        start_R: The share of training after which averaging begins, in [0, 1], float64.
        steps: Number of all steps.
    """
    firsts = [first_averaged(start, steps) for start in start_R.tolist()]
    first_R = torch.tensor(firsts, device=start_R.device)
    return Weighting(partial(weight, first_R), anew_from_R=first_R)


def weight(first_R: Tensor, step: Step) -> Tensor:
    """Compute the weight of a step in the average: 1/n for the n-th averaged step, 1 before.

    Args:
        first_R: Number of the first averaged step, from 0, int64; the total number of steps for a
            run without averaging.
        step: Number of the step, from 0.

    Returns:
        float64 [R]; before the first averaged step, the average is a copy of the weights.
    """
    return 1 / ((step - first_R).clamp(min=0) + 1).double()
