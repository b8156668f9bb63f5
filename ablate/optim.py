"""Update rules over the run axis: one step of R optimizers, each with its own coefficients.

The arithmetic follows torch.optim's single-tensor functions operation by operation, so that in
float32 a run gets the same bits as from torch's optimizer of that name: where torch adds a scaled
tensor, a fused multiply-add stands here too (`addcmul_`).

Coefficients are float64 [R]; parameters, gradients and state are [R, ...].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Stacked = dict[str, Tensor]  # a parameter's name -> [R, ...]
Coefficient = Tensor | float

_SLOTS = {
    "sgd": (),
    "momentum": ("momentum",),
    "nesterov": ("momentum",),
    "adam": ("mean", "square"),
    "adamw": ("mean", "square"),
}
_COEFFICIENTS = ("weight_decay", "momentum", "beta1", "beta2", "eps")


class Optimizer:
    """One optimizer's rule and its state, for R runs.

    Args:
        configs: The `optimizer` part of each run's configuration; all of one name.
        parameters: The stacked parameters; updated in place by `step`.

    Source: torch.optim (SGD, Adam, AdamW); Sutskever et al. 2013 (Nesterov momentum); Kingma & Ba
    2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]], parameters: Stacked) -> None:
        self.name: str = configs[0]["name"]
        self.parameters = parameters
        device = next(iter(parameters.values())).device
        self._single = len(configs) == 1 and device.type == "cpu"
        self.coefficients = {
            name: torch.tensor([c[name] for c in configs], dtype=torch.float64, device=device)
            for name in _COEFFICIENTS
            if name in configs[0]
        }
        # Decay by zero would turn -0.0 into 0.0 and cost a pass; torch leaves it out, so do we.
        self._decays = any(c["weight_decay"] > 0 for c in configs)
        self.state: dict[str, Stacked] = {
            slot: {name: torch.zeros_like(p) for name, p in parameters.items()}
            for slot in _SLOTS[self.name]
        }

    @torch.no_grad()
    def step(self, gradients: Stacked, lr_R: Tensor, count: int) -> None:
        """Update all parameters.

        Args:
            gradients: Stacked like the parameters; left as they are (two may share memory).
            lr_R: Learning rates of this step, float64 [R].
            count: Number of this step, from 1.
        """
        rule = self._adam if "mean" in self.state else self._sgd
        rule(gradients, lr_R, count)

    def _sgd(self, gradients: Stacked, lr_R: Tensor, count: int) -> None:
        c = self.coefficients
        for name, p in self.parameters.items():
            gradient = gradients[name]
            if self._decays:
                gradient = _plus(gradient, p, self._along(c["weight_decay"], p))
            if self.state:
                buffer, momentum = self.state["momentum"][name], self._along(c["momentum"], p)
                buffer.copy_(gradient) if count == 1 else buffer.mul_(momentum).add_(gradient)
                nesterov = self.name == "nesterov"
                gradient = _plus(gradient, buffer, momentum) if nesterov else buffer
            _plus(p, gradient, self._along(-lr_R, p), out=p)

    def _adam(self, gradients: Stacked, lr_R: Tensor, count: int) -> None:
        c = self.coefficients
        decoupled = self.name == "adamw"
        step_size_R = -(lr_R / (1 - c["beta1"] ** count))
        correction_R = (1 - c["beta2"] ** count).sqrt()
        for name, p in self.parameters.items():
            gradient = gradients[name]
            if self._decays and decoupled:
                p.mul_(self._along(1 - lr_R * c["weight_decay"], p))
            elif self._decays:
                gradient = _plus(gradient, p, self._along(c["weight_decay"], p))
            mean, square = self.state["mean"][name], self.state["square"][name]
            _lerp(mean, gradient, self._along(1 - c["beta1"], p))
            square.mul_(self._along(c["beta2"], p))
            _add_product(square, gradient, self._along(1 - c["beta2"], p))
            scale = square.sqrt().div_(self._along(correction_R, p))
            scale.add_(self._along(c["eps"], p))
            _add_quotient(p, mean, scale, self._along(step_size_R, p))

    def _along(self, values_R: Tensor, like: Tensor) -> Coefficient:
        """Shape one value a run so that it broadcasts over [R, ...], in that tensor's type.

        A single run on a CPU gets a number: torch's own operations with a number make fewer passes
        over memory, and give the same bits.
        """
        if self._single:
            return float(values_R)
        return values_R.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


# One line each for a number, as torch.optim writes it, and for one value a run.


def _plus(x: Tensor, y: Tensor, c: Coefficient, out: Tensor | None = None) -> Tensor:
    """Return x + c·y, rounded once."""
    if isinstance(c, float):
        return torch.add(x, y, alpha=c, out=out)
    return torch.addcmul(x, y, c, out=out)


def _lerp(x: Tensor, y: Tensor, c: Coefficient) -> None:
    """Do x += c·(y - x)."""
    x.lerp_(y, c if isinstance(c, float) else c.expand_as(y))


def _add_product(x: Tensor, y: Tensor, c: Coefficient) -> None:
    """Do x += c·y·y."""
    x.addcmul_(y, y, value=c) if isinstance(c, float) else x.addcmul_(y * c, y)


def _add_quotient(x: Tensor, y: Tensor, z: Tensor, c: Coefficient) -> None:
    """Do x += c·y/z."""
    x.addcdiv_(y, z, value=c) if isinstance(c, float) else x.add_((y * c).div_(z))
