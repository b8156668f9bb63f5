"""Gradient descent: plain, with momentum, with Nesterov's momentum."""

from __future__ import annotations

from torch import Tensor

from ablate.axis import Stacked, Step
from ablate.optim.rule import Coefficients, PerRun, Rule, decayed, plus


def _terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    return c | {"step": -c["lr"]}


def _plain(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Step against the gradient.

    The baseline of every comparison: no state, and one number to tune. Ill-conditioned losses make
    it slow. Small dense networks train at lr 0.01 to 0.5.

    Source: Robbins & Monro 1951, equation 6; torch.optim.SGD.
    """
    plus(p, decayed(gradient, p, c), c["step"], out=p)


def _momentum(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Step along a decaying sum of gradients, b <- momentum·b + g.

    Speeds up directions in which gradients agree; steps grow up to 1/(1 - momentum) times. With
    momentum 0.9 and a falling rate it is the usual way to train conv nets, at lr 0.01 to 0.1.

    Source: Polyak 1964, equation 9; torch.optim.SGD.
    """
    gradient = decayed(gradient, p, c)
    if "momentum" in c:
        gradient = s["momentum"].mul_(c["momentum"]).add_(gradient)
    plus(p, gradient, c["step"], out=p)


def _nesterov(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Step along the gradient plus momentum times the sum that already holds it.

    Looks one step ahead and so damps the overshoot of plain momentum, most at 0.95 and above;
    settings as for momentum.

    Source: Sutskever et al. 2013, equations 3 and 4; torch.optim.SGD(nesterov=True).
    """
    gradient = decayed(gradient, p, c)
    if "momentum" in c:
        buffer = s["momentum"].mul_(c["momentum"]).add_(gradient)
        gradient = plus(gradient, buffer, c["momentum"])
    plus(p, gradient, c["step"], out=p)


SGD = Rule(_plain, _terms)
MOMENTUM = Rule(_momentum, _terms, slots=("momentum",))
NESTEROV = Rule(_nesterov, _terms, slots=("momentum",))
