"""Learning-rate schedules, step by step: a schedule is a table of rates, [T], made before training.

So it costs nothing in the loop, may differ along the run axis, and can be plotted without training.

Source: step, torch's StepLR; cosine, Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5 without
restarts; warm-up, Goyal et al. 2017, arXiv:1706.02677, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def rates(schedule: Mapping[str, Any], lr: float, steps: int, epoch_steps: int) -> Tensor:
    """Work out the learning rate of every step.

    Args:
        schedule: The `schedule` part of a configuration.
        lr: The base rate.
        steps: Steps T of the whole training.
        epoch_steps: Steps of an epoch.

    Returns:
        float64 [T]. During a warm-up of W steps the rate of step t (from 0) is lr·(t + 1)/W; the
        schedule fills the steps that are left.
    """
    warmup = min(round(schedule["warmup_epochs"] * epoch_steps), steps)
    rising = (torch.arange(warmup, dtype=torch.float64) + 1) / max(warmup, 1)
    step = torch.arange(steps - warmup, dtype=torch.float64)
    return lr * torch.cat([rising, _factor(schedule, step, max(steps - warmup, 1))])


def _factor(schedule: Mapping[str, Any], step: Tensor, steps: int) -> Tensor:
    if schedule["name"] == "step":
        falls = (step / max(round(schedule["every"] * steps), 1)).floor()
        gamma = torch.tensor(float(schedule["gamma"]), dtype=torch.float64)
        return gamma.pow(falls)
    if schedule["name"] == "cosine":
        final = float(schedule["final"])
        return final + (1 - final) * (1 + (math.pi * step / steps).cos()) / 2
    return torch.ones_like(step)
