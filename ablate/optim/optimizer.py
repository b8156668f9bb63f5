"""One optimizer for R runs: gathers their coefficients and applies the rule of each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ablate.axis import Stacked, Step, along
from ablate.optim import muon
from ablate.optim.adam import ADAM, ADAMW, NADAM
from ablate.optim.adaptive import ADADELTA, ADAGRAD, RMSPROP
from ablate.optim.rule import Coefficients, PerRun, Rule
from ablate.optim.sgd import MOMENTUM, NESTEROV, SGD

RULES = {
    "sgd": SGD,
    "momentum": MOMENTUM,
    "nesterov": NESTEROV,
    "adagrad": ADAGRAD,
    "adadelta": ADADELTA,
    "rmsprop": RMSPROP,
    "adam": ADAM,
    "adamw": ADAMW,
    "nadam": NADAM,
    "muon": ADAMW,  # for all parameters except matrices, which have their own rule
}
_COEFFICIENTS = (
    *("weight_decay", "momentum", "momentum_decay", "lr_decay"),
    *("alpha", "rho", "beta1", "beta2", "eps"),
)
_IDLE_AT_ZERO = ("weight_decay", "momentum")
_ALL = "all"  # the name for state that belongs to no single parameter


class Optimizer:
    """One optimizer's rule and its state, for R runs.

    Args:
        configs: The `optimizer` part of each run's configuration; all with the same name, and the
            same `ns_steps` if they have any.
        parameters: The stacked parameters; updated in place by `step`.
        weights: Name -> gates for matrices and kernels, which muon's rule applies to.

    Attributes:
        state: slot -> name -> [R, ...]; the slice [r] is all that run r needs to resume.
    """

    def __init__(
        self,
        configs: Sequence[Mapping[str, Any]],
        parameters: Stacked,
        weights: Mapping[str, int],
    ) -> None:
        self.parameters = parameters
        device = next(iter(parameters.values())).device
        self._single = len(configs) == 1 and device.type == "cpu"
        used = [name for name in _COEFFICIENTS if name in configs[0]]
        idle = {name for name in _IDLE_AT_ZERO if all(c.get(name) == 0 for c in configs)}
        self.coefficients: PerRun = {
            name: torch.tensor([c[name] for c in configs], dtype=torch.float64, device=device)
            for name in used
            if name not in idle
        }
        self._names = _names_by_rule(configs[0], parameters, weights)
        ones_R = torch.ones(len(configs), dtype=torch.float32, device=device)
        self.state: dict[str, Stacked] = {}
        for rule, names in self._names.items():
            for slot in rule.slots:
                held = self.state.setdefault(slot, {})  # rules may share a slot's name
                held |= {name: torch.zeros_like(parameters[name]) for name in names}
            for slot in rule.products:
                self.state[slot] = {_ALL: ones_R.clone()}

    @torch.no_grad()
    def step(self, gradients: Stacked, lr_R: Tensor, count: Step) -> None:
        """Update all parameters.

        Args:
            gradients: Stacked like the parameters; not changed (two may share memory).
            lr_R: Learning rates of this step, float64 [R].
            count: Number of this step, from 1.
        """
        for rule, names in self._names.items():
            products = {slot: self.state[slot][_ALL] for slot in rule.products}
            terms_R = rule.terms(self.coefficients | {"lr": lr_R}, count, products)
            shaped: dict[tuple[torch.dtype, int], Coefficients] = {}
            for name in names:
                p = self.parameters[name]
                kind = (p.dtype, p.dim())
                if kind not in shaped:
                    shaped[kind] = self._along(terms_R, p)
                slots = {slot: self.state[slot][name] for slot in rule.slots}
                rule.update(p, gradients[name], slots, shaped[kind])

    def _along(self, terms_R: PerRun, like: Tensor) -> Coefficients:
        """Shape one value per run to broadcast over [R, ...], in that tensor's type.

        A single run on a CPU gets plain numbers: torch's operations then make fewer passes over
        memory, and give the same bits.
        """
        if self._single:
            return {name: float(values_R) for name, values_R in terms_R.items()}
        return {name: along(values_R, like) for name, values_R in terms_R.items()}


def _names_by_rule(
    config: Mapping[str, Any], parameters: Stacked, weights: Mapping[str, int]
) -> dict[Rule, list[str]]:
    """Give each parameter its rule: by the optimizer's name; muon has another for matrices."""
    plain = RULES[config["name"]]
    matrices = weights if config["name"] == "muon" else {}
    rules = {gates: muon.rule(config["ns_steps"], gates) for gates in set(matrices.values())}
    names: dict[Rule, list[str]] = {}
    for name in parameters:
        rule = rules[matrices[name]] if name in matrices else plain
        names.setdefault(rule, []).append(name)
    return names
