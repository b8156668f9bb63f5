"""What is minimized: the loss with its penalties, and the gradient that the optimizer gets.

loss ─ penalties ─> gradient ─ (sam: again, uphill) ─ limits on the gradient ─> optimizer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ablate.axis import Stacked, Step
from ablate.config import schema
from ablate.config.targets import made
from ablate.errors import AblateError
from ablate.optim.solvers import applied
from ablate.regularize import sam
from ablate.regularize.label_smoothing import cross_entropy
from ablate.regularize.registry import GRADIENT_LIMITS, PENALTIES
from ablate.train.stack import Stack
from ablate.train.strengths import strengths, those_on

Config = Mapping[str, Any]


@dataclass(frozen=True)
class ObjectiveValue:
    """The objective at a point.

    Attributes:
        loss_R: Mean loss over the batch, without penalties, in nats.
        penalty_R: Sum of the penalties, or None if there are none.
        right_R: Right answers in training mode, float64.
        gradients: Of loss and penalties, shaped like the parameters.
        acted: For each limit on the gradient, which runs' gradients it changed, bool [R].
    """

    loss_R: Tensor
    penalty_R: Tensor | None
    right_R: Tensor
    gradients: Stacked
    acted: Stacked = field(default_factory=dict)

    @property
    def total_R(self) -> Tensor:
        """Loss and penalties."""
        return self.loss_R if self.penalty_R is None else self.loss_R + self.penalty_R


class Objective:
    """The objective of R runs.

    Args:
        configs: Their configurations.
        stack: Their networks.

    Attributes:
        weights: The parameters that penalties and max-norm act on: matrices and kernels, no biases
            and no norm parameters.
        penalties: Those that are on: name -> strengths [R].
        limits: Limits on the gradient that are on: name -> limits [R].
    """

    def __init__(self, configs: Sequence[Config], stack: Stack) -> None:
        self._stack = stack
        self.weights = {name: stack.parameters[name] for name in stack.weights}
        device = stack.device
        self.penalties = those_on(configs, PENALTIES, device) if self.weights else {}
        self.own = own_penalty(configs[0])
        self._rho_R = strengths(configs, "sam", device)
        self.limits = those_on(configs, GRADIENT_LIMITS, device, off=torch.inf)

    @property
    def penalized(self) -> bool:
        """Whether there is any penalty."""
        return bool(self.penalties) or self.own is not None

    def at(
        self, x_RBCHW: Tensor, target: Stacked, step: Step, alive: Sequence[bool]
    ) -> ObjectiveValue:
        """Evaluate a batch at the current parameters.

        Args:
            x_RBCHW: Normalized images.
            target: As `label_smoothing.cross_entropy` takes it, stacked.
            step: Number of the step, from 0.
            alive: Runs worth computing.

        Returns:
            The value, with the gradients for the optimizer; with SAM, loss and right answers are
            those before the ascent.
        """
        found = self._plain(x_RBCHW, target, step, alive)
        if self._rho_R is not None:
            found = self._sharp(
                found, self._rho_R, lambda: self._plain(x_RBCHW, target, step, alive)
            )
        gradients, acted = found.gradients, {}
        for name, limit_R in self.limits.items():
            clipped = GRADIENT_LIMITS[name].clip(gradients, limit_R)
            acted[name] = _differ(gradients, clipped)
            gradients = clipped
        return replace(found, gradients=gradients, acted=acted)

    def _plain(
        self, x_RBCHW: Tensor, target: Stacked, step: Step, alive: Sequence[bool]
    ) -> ObjectiveValue:
        loss_R, right_R, gradients = self._stack.gradients(x_RBCHW, target, step, alive)
        penalty_R: Tensor | None = None
        for name, strength_R in self.penalties.items():
            method = PENALTIES[name]
            value_R = method.penalty(self.weights, strength_R)
            penalty_R = value_R if penalty_R is None else penalty_R + value_R
            gradients = method.add_gradient(gradients, self.weights, strength_R)
        if self.own is not None:
            value_R, gradients = self._with_own(self.own, gradients)
            penalty_R = value_R if penalty_R is None else penalty_R + value_R
        return ObjectiveValue(loss_R, penalty_R, right_R, gradients)

    def functional(self, x_BCHW: Tensor, target: Stacked) -> Callable[[Stacked], Tensor]:
        """Write the objective of a single run as a function of its parameters.

        Args:
            x_BCHW: Normalized images.
            target: As `label_smoothing.cross_entropy` takes it.
        """

        def objective(parameters: Stacked) -> Tensor:
            logits_BK = applied(self._stack.prepared(0), parameters, x_BCHW)
            value = cross_entropy(logits_BK, target)
            weights = {name: parameters[name][None] for name in self.weights}
            for name, strength_R in self.penalties.items():
                value = value + PENALTIES[name].penalty(weights, strength_R)[0]
            return value if self.own is None else value + self.own(parameters)

        return objective

    def _with_own(
        self, penalty: Callable[[Stacked], Tensor], gradients: Stacked
    ) -> tuple[Tensor, Stacked]:
        """Add the user's penalty, run by run."""
        values, each = [], []
        for r in range(self._stack.width):
            own = {k: p[r].detach().requires_grad_() for k, p in self._stack.parameters.items()}
            value = penalty(own)
            each.append(torch.autograd.grad(value, list(own.values()), materialize_grads=True))
            values.append(value.detach())
        stacked = [torch.stack(parts) for parts in zip(*each, strict=True)]
        names = self._stack.parameters
        added = {k: gradients[k] + more for k, more in zip(names, stacked, strict=True)}
        return torch.stack(values), added

    @torch.no_grad()
    def _sharp(
        self, found: ObjectiveValue, rho_R: Tensor, again: Callable[[], ObjectiveValue]
    ) -> ObjectiveValue:
        """Compute the gradient uphill of the parameters, and restore these."""
        stack = self._stack
        uphill = {
            name: stack.parameters[name] + climb
            for name, climb in sam.ascent(found.gradients, rho_R).items()
        }
        # Restore the buffers, too: batch norm's statistics come from the first pass only.
        with stack.holding(uphill | stack.buffers), torch.enable_grad():
            gradients = again().gradients
        return replace(found, gradients=gradients)


def _differ(one: Stacked, other: Stacked) -> Tensor:
    """Tell for each run whether any number differs, bool [R]."""
    each = [(one[name] != other[name]).flatten(1).any(1) for name in one]
    return torch.stack(each).any(0)


def own_penalty(config: Config) -> Callable[[Stacked], Tensor] | None:
    """Make the user's penalty, with a check of what it returns; None if there is none.

    Raises:
        AblateError: It cannot be imported or constructed.
    """
    target = config["regularize"].get("_target_")
    if not target:
        return None
    function = made(target, "regularize._target_", schema.arguments(config, "regularize"))

    def penalty(parameters: Stacked) -> Tensor:
        out = function(parameters)
        here = next(iter(parameters.values())).device
        if isinstance(out, Tensor) and out.device != here:
            raise AblateError(
                f"regularize._target_={target} gives a number on {out.device} for parameters on"
                f" {here}"
            )
        if isinstance(out, Tensor) and out.dim() == 0 and out.requires_grad:
            return out
        got = f"shape {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        if isinstance(out, Tensor) and out.dim() == 0:
            got = "a constant"
        raise AblateError(
            f"regularize._target_={target} gives {got}: one number that depends on the parameters"
            " is needed"
        )

    return penalty
