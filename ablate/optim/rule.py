"""The form of an update rule, and the operations that rules are made of.

Coefficients are float64 [R]; parameters, gradients and state are [R, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.axis import Stacked, Step

PerRun = dict[str, Tensor]  # a coefficient's name -> [R]
Coefficient = Tensor | float  # broadcasts over a stacked tensor; a number if R = 1
Coefficients = Mapping[str, Coefficient]


@dataclass(frozen=True)
class Rule:
    """How parameters of one kind are updated.

    Attributes:
        update: Changes a parameter in place, given its gradient (not changed), its state (slot ->
            [R, ...], changed in place) and the coefficients of this step.
        terms: Computes the coefficients of this step, float64 [R], from the configured ones (with
            this step's ``lr``), the step's number, from 1, and the ``products``. ``weight_decay``
            and ``momentum`` are absent if 0 in all runs, since torch then skips their operations.
        slots: State shaped like the parameter; it starts at 0.
        products: State with one number per run for all parameters, float32; it starts at 1.
    """

    update: Callable[[Tensor, Tensor, Stacked, Coefficients], None]
    terms: Callable[[PerRun, Step, PerRun], PerRun]
    slots: tuple[str, ...] = ()
    products: tuple[str, ...] = ()


def decayed(gradient: Tensor, p: Tensor, c: Coefficients) -> Tensor:
    """Return the gradient plus weight_decay·p, if any run has weight decay."""
    return plus(gradient, p, c["weight_decay"]) if "weight_decay" in c else gradient


# Each has a line for a plain number, as in torch.optim, and one for a value per run. torch adds a
# scaled tensor with a single rounding; here the fused multiply-add of `addcmul` does the same.


def plus(x: Tensor, y: Tensor, c: Coefficient, out: Tensor | None = None) -> Tensor:
    """Return x + c·y, rounded once."""
    if isinstance(c, float):
        return torch.add(x, y, alpha=c, out=out)
    return torch.addcmul(x, y, c, out=out)


def lerp(x: Tensor, y: Tensor, c: Coefficient) -> None:
    """Do x += c·(y - x)."""
    x.lerp_(y, c if isinstance(c, float) else c.expand_as(y))


def add_product(x: Tensor, y: Tensor, c: Coefficient) -> None:
    """Do x += c·y·y."""
    x.addcmul_(y, y, value=c) if isinstance(c, float) else x.addcmul_(y * c, y)


def add_quotient(x: Tensor, y: Tensor, z: Tensor, c: Coefficient) -> None:
    """Do x += c·y/z."""
    x.addcdiv_(y, z, value=c) if isinstance(c, float) else x.add_((y * c).div_(z))
