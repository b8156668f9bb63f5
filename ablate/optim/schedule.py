"""The learning rate of every step: a table [T], made before training by `config.rates`.

So a schedule costs nothing in the loop, may differ along the run axis, and can be plotted without
training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ablate.config.course import Length
from ablate.config.rates import fractions


def rates(schedule: Mapping[str, Any], lr: float, length: Length) -> Tensor:
    """Compute the learning rate of every step.

    Args:
        schedule: The `schedule` part of a configuration.
        lr: The base rate.
        length: How long the training is, T steps.

    Returns:
        float64 [T].
    """
    step = torch.arange(length.steps, dtype=torch.float64)
    rate_T: Tensor = lr * fractions(schedule, length, step, torch)
    return rate_T
