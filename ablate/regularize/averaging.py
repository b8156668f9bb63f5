"""An average of a network's weights along training, for every run of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.axis import Stacked, Step, along


@dataclass(frozen=True)
class Weighting:
    """How much each step counts in an average.

    Attributes:
        weight_R: For each step, from 0, the weight of that step's tensors in the average, float64
            [R] in (0, 1].
        anew_from_R: The step from which batch norm's running statistics no longer fit the average
            and must be measured again, int64 [R]; None if they can be averaged like the weights.
    """

    weight_R: Callable[[Step], Tensor]
    anew_from_R: Tensor | None = None


class Average:
    """A running average of stacked tensors.

    Args:
        tensors: Parameters and buffers, name -> [R, ...]. Floating-point tensors are averaged,
            others copied.
        weight_R: As in `Weighting`.

    Attributes:
        average: Like the tensors; the whole state, of which run r's part is ``average[name][r]``.
    """

    def __init__(self, tensors: Stacked, weight_R: Callable[[Step], Tensor]) -> None:
        self.average: Stacked = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._weight_R = weight_R

    @torch.no_grad()
    def update(self, tensors: Stacked, step: Step) -> None:
        """Add the tensors after a step; a weight of 1 copies them bit for bit."""
        weight_R = self._weight_R(step)
        for name, average in self.average.items():
            new = tensors[name]
            if not average.is_floating_point():
                average.copy_(new)
                continue
            weight = along(weight_R, average)
            average.lerp_(new, weight.expand_as(average))
            torch.where(weight == 1, new, average, out=average)
