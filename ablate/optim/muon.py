"""Muon steps along the orthogonal matrix that is nearest to the (Nesterov) mean of gradients.

A kernel [out, in, ...] counts as the matrix [out, in · ...], and each gate of a recurrent layer as
a matrix of its own; biases and norms are AdamW's. All directions of a matrix move alike, the rare
ones too, which saves steps on hidden layers. The step is scaled by 0.2·sqrt(max(out, in · ...)), to
the size of AdamW's: AdamW's lr and weight_decay serve (1e-3 to 5e-3 on small nets), with momentum
0.95 and 5 iterations.

Source: Jordan et al. 2024 (Muon: an optimizer for hidden layers in neural networks); Liu et al.
2025, arXiv:2502.16982, equation 4; torch.optim.Muon(adjust_lr_fn="match_rms_adamw"), which iterates
in bfloat16 where this one keeps the type of the weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ablate.axis import Stacked, Step
from ablate.optim.rule import Coefficients, PerRun, Rule, lerp, plus

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic a·s + b·s³ + c·s⁵
_SMALLEST = 1e-7  # lower bound of the norm that a matrix is divided by


def rule(steps: int, gates: int = 1) -> Rule:
    """Make the rule for matrices; all other parameters use AdamW.

    Args:
        steps: Newton-Schulz iterations, at least 1.
        gates: Number of matrices stacked in a parameter, as in recurrent layers.
    """

    def update(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
        _muon(p, gradient, s, c, steps, gates)

    return Rule(update, _terms, slots=("momentum",))


def _terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    momentum_R = c.get("momentum", torch.zeros_like(c["lr"]))
    terms = c | {"step": -c["lr"], "momentum": momentum_R, "1-momentum": 1 - momentum_R}
    if "weight_decay" in c:
        terms["shrink"] = 1 - c["lr"] * c["weight_decay"]
    return terms


def _muon(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients, steps: int, gates: int) -> None:
    lerp(s["momentum"], gradient, c["1-momentum"])
    mean = gradient.clone()
    lerp(mean, s["momentum"], c["momentum"])
    mean_RMN = mean.flatten(2)
    each_MN = mean_RMN.unflatten(1, (gates, -1)).flatten(0, 1)  # type: ignore[no-untyped-call]
    direction_RMN = orthogonalized(each_MN, steps)
    direction_RMN.mul_(0.2 * math.sqrt(max(direction_RMN.shape[1:])))
    if "shrink" in c:
        p.mul_(c["shrink"])
    plus(p, direction_RMN.view_as(p), c["step"], out=p)


def orthogonalized(x_RMN: Tensor, steps: int) -> Tensor:
    """Bring the singular values of matrices near 1 and keep their singular vectors.

    Args:
        x_RMN: Matrices; one of zeros stays so.
        steps: Iterations, at least 1; 5 bring all values above 0.005 of the norm to 0.68 to 1.2.

    Source: Jordan et al. 2024 (Newton-Schulz iteration, coefficients).
    """
    if x_RMN.device.type != "cpu":
        return _newton_schulz(x_RMN, steps)
    # On a CPU, stacked products round differently from single ones: a run would depend on R.
    return torch.cat([_newton_schulz(x_1MN, steps) for x_1MN in torch.split(x_RMN, 1)])


def _newton_schulz(x_RMN: Tensor, steps: int) -> Tensor:
    tall = x_RMN.shape[1] > x_RMN.shape[2]
    x = x_RMN.mT if tall else x_RMN  # so that the smaller Gram matrix is used
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=_SMALLEST)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x
