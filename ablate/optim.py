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
                gradient = gradient.addcmul(p, _along(c["weight_decay"], p))
            if self.state:
                buffer, momentum = self.state["momentum"][name], _along(c["momentum"], p)
                buffer.copy_(gradient) if count == 1 else buffer.mul_(momentum).add_(gradient)
                nesterov = self.name == "nesterov"
                gradient = gradient.addcmul(buffer, momentum) if nesterov else buffer
            p.addcmul_(gradient, _along(-lr_R, p))

    def _adam(self, gradients: Stacked, lr_R: Tensor, count: int) -> None:
        c = self.coefficients
        decoupled = self.name == "adamw"
        step_size = -(lr_R / (1 - c["beta1"] ** count))
        correction = (1 - c["beta2"] ** count).sqrt()
        for name, p in self.parameters.items():
            gradient = gradients[name]
            if self._decays and decoupled:
                p.mul_(_along(1 - lr_R * c["weight_decay"], p))
            elif self._decays:
                gradient = gradient.addcmul(p, _along(c["weight_decay"], p))
            mean, square = self.state["mean"][name], self.state["square"][name]
            mean.lerp_(gradient, _along(1 - c["beta1"], p).expand_as(p))
            square.mul_(_along(c["beta2"], p))
            square.addcmul_(gradient * _along(1 - c["beta2"], p), gradient)
            scale = square.sqrt().div_(_along(correction, p)).add_(_along(c["eps"], p))
            p.add_((mean * _along(step_size, p)).div_(scale))


def _along(values_R: Tensor, like: Tensor) -> Tensor:
    """Shape one value a run so that it broadcasts over [R, ...], in that tensor's type."""
    return values_R.to(like.dtype).view(-1, *[1] * (like.dim() - 1))
