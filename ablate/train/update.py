"""One step of R runs: from the objective to new weights, and to their average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ablate.axis import Stacked, Step
from ablate.config.effect import SOLVERS
from ablate.optim import Optimizer
from ablate.optim.solvers import exact_hessian, solver
from ablate.regularize.averaging import Average
from ablate.regularize.registry import AVERAGES, WEIGHT_LIMITS
from ablate.train.objective import Objective, ObjectiveValue
from ablate.train.stack import Stack
from ablate.train.strengths import strengths, those_on

Config = Mapping[str, Any]


class Update:
    """What changes the weights of R runs.

    Args:
        configs: Their configurations.
        stack: Their networks.
        steps: Steps of the whole training.

    Attributes:
        objective: What is minimized.
        average: The average that is evaluated instead of the weights, or None.
        measures_anew: For each run, the step from which the average needs batch norm's statistics
            measured again, [R]; None if it does not.
    """

    def __init__(self, configs: Sequence[Config], stack: Stack, steps: int) -> None:
        self._stack = stack
        self.objective = Objective(configs, stack)
        self._solver = self._optimizer = None
        if configs[0]["optimizer"]["name"] in SOLVERS:
            assert stack.width == 1, "a solver is alone in its stack"
            self._trained = stack.trained(0)
            parameters = list(self._trained.values())
            self._solver = solver(configs[0]["optimizer"], parameters, self._hessian)
        else:
            parts = [config["optimizer"] for config in configs]
            self._optimizer = Optimizer(parts, stack.parameters, stack.weights)
        self._limits = those_on(configs, WEIGHT_LIMITS, stack.device, off=torch.inf)
        self.average: Average | None = None
        self.measures_anew: Tensor | None = None
        for name, method in AVERAGES.items():  # at most one is on: a plan refuses two
            strength_R = strengths(configs, name, stack.device, off=method.OFF)
            if strength_R is not None:
                weighting = method.weighting(strength_R, steps)
                self.average = Average(self._held, weighting.weight_R)
                self.measures_anew = weighting.anew_from_R if stack.keeps_statistics else None

    @property
    def limits(self) -> tuple[str, ...]:
        """Names of the limits on gradients and weights that are on."""
        return (*self.objective.limits, *self._limits)

    @property
    def searches(self) -> bool:
        """Whether a step evaluates the objective as often as it needs, rather than once."""
        return self._solver is not None

    @property
    def _held(self) -> Stacked:
        return self._stack.parameters | self._stack.buffers

    def step(
        self, x_RBCHW: Tensor, target: Stacked, lr_R: Tensor, step: Step, alive: Sequence[bool]
    ) -> ObjectiveValue:
        """Do one step.

        Args:
            x_RBCHW: Normalized images.
            target: As `label_smoothing.cross_entropy` takes it, stacked.
            lr_R: Learning rates, float64.
            step: Its number, from 0.
            alive: Runs worth computing.

        Returns:
            The objective before the step, with the limits that acted.
        """
        if self._optimizer is not None:
            found = self.objective.at(x_RBCHW, target, step, alive)
            self._optimizer.step(found.gradients, lr_R, step + 1)
        else:
            found = self._solve(x_RBCHW, target, float(lr_R), step)
        for name, limit_R in self._limits.items():
            beyond_R = WEIGHT_LIMITS[name].project(self.objective.weights, limit_R)
            found = replace(found, acted=found.acted | {name: beyond_R})
        if self.average is not None:
            self.average.update(self._held, step)
        return found

    def _solve(self, x_RBCHW: Tensor, target: Stacked, lr: float, step: Step) -> ObjectiveValue:
        """Let a solver evaluate the objective as often as it needs; return the first value."""
        assert self._solver is not None, "there is one or the other"
        self._batch = x_RBCHW[0], {name: tensor[0] for name, tensor in target.items()}
        answers: list[ObjectiveValue] = []

        def closure() -> Tensor:
            found = self.objective.at(x_RBCHW, target, step, [True])
            answers.append(found)
            for name, parameter in self._trained.items():
                gradient = found.gradients[name][0]  # torch.optim.LBFGS wants it in plain order
                parameter.grad = gradient.clone(memory_format=torch.contiguous_format)
            return found.total_R[0]

        self._solver.step(closure, lr)
        return answers[0]

    def _hessian(self) -> Tensor:
        loss = self.objective.functional(*self._batch)
        return exact_hessian(loss, {name: p.detach() for name, p in self._trained.items()})

    # -- state -------------------------------------------------------------------------------------

    def state(self, r: int) -> dict[str, Any]:
        """Copy what run r needs to resume, on the CPU."""
        average = {} if self.average is None else self.average.average
        return {
            "optimizer": {s: _copied(t, r) for s, t in self._slots.items()},
            "solver": None if self._solver is None else self._solver.state(),
            "average": _copied(average, r),
        }

    def restore(self, r: int, state: Mapping[str, Any]) -> None:
        """Put back what `state` copied."""
        for slot, tensors in state["optimizer"].items():
            for name, tensor in tensors.items():
                self._slots[slot][name][r].copy_(tensor)
        if self._solver is not None:
            self._solver.restore(state["solver"])
        for name, tensor in state["average"].items():
            assert self.average is not None, "a run resumes with the configuration it began with"
            self.average.average[name][r].copy_(tensor)

    @property
    def _slots(self) -> Mapping[str, Stacked]:
        return {} if self._optimizer is None else self._optimizer.state


def _copied(tensors: Stacked, r: int) -> Stacked:
    return {name: tensor[r].cpu().clone() for name, tensor in tensors.items()}
