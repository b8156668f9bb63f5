"""Adagrad and its successors: a separate rate for each weight, from its squared gradients."""

from __future__ import annotations

from torch import Tensor

from ablate.axis import Stacked, Step
from ablate.optim.rule import (
    Coefficients,
    PerRun,
    Rule,
    add_product,
    add_quotient,
    decayed,
    plus,
)


def _adagrad_terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    return c | {"step": -(c["lr"] / (1 + (count - 1) * c["lr_decay"]))}


def _adadelta_terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    return c | {"step": -c["lr"], "1-rho": 1 - c["rho"]}


def _rmsprop_terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    terms = c | {"step": -c["lr"], "1-alpha": 1 - c["alpha"]}
    if "momentum" in c:
        # With momentum, torch multiplies by the rate after the buffer, else before the division. So
        # one of the two factors is the rate and the other 1, which does not round.
        with_momentum = c["momentum"] > 0
        terms["into_buffer"] = terms["step"].masked_fill(with_momentum, 1)
        terms["out_of_buffer"] = terms["step"].masked_fill(~with_momentum, 1)
    return terms


def _adagrad(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Divide the gradient by the root of the sum of all its squares so far.

    Weights whose gradients are rare or small keep long steps, which suits sparse inputs. The rate
    only falls, in the end too far for long trainings. lr 0.01 to 0.1.

    Source: Duchi, Hazan & Singer 2011, JMLR 12, figure 1 (diagonal matrices);
    torch.optim.Adagrad.
    """
    gradient = decayed(gradient, p, c)
    scale = s["square"].addcmul_(gradient, gradient).sqrt().add_(c["eps"])
    add_quotient(p, gradient, scale, c["step"])


def _adadelta(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Divide by the root mean square of recent gradients, multiply by that of recent steps.

    Steps carry the unit of the weights, so lr is a bare factor: 1, with rho 0.9 to 0.95. ``eps``
    (1e-6) sets the first steps' length, and a larger one speeds up the start.

    Source: Zeiler 2012, arXiv:1212.5701, algorithm 1; torch.optim.Adadelta.
    """
    gradient = decayed(gradient, p, c)
    s["square"].mul_(c["rho"])
    add_product(s["square"], gradient, c["1-rho"])
    scale = s["square"].add(c["eps"]).sqrt_()
    move = s["moved"].add(c["eps"]).sqrt_().div_(scale).mul_(gradient)
    s["moved"].mul_(c["rho"])
    add_product(s["moved"], move, c["1-rho"])
    plus(p, move, c["step"], out=p)


def _rmsprop(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Divide the gradient by the root mean square of recent ones.

    Adagrad that forgets, and Adam without its mean; holds up where the loss changes while it is
    learned, as in recurrent networks. lr 1e-4 to 1e-3 with alpha 0.9 to 0.99; first steps are up to
    1/sqrt(1 - alpha) times longer, since the mean square starts at 0 uncorrected.

    Source: Tieleman & Hinton 2012 (Coursera: Neural Networks for Machine Learning, lecture 6.5);
    torch.optim.RMSprop.
    """
    gradient = decayed(gradient, p, c)
    s["square"].mul_(c["alpha"])
    add_product(s["square"], gradient, c["1-alpha"])
    scale = s["square"].sqrt().add_(c["eps"])
    if "momentum" not in c:
        add_quotient(p, gradient, scale, c["step"])
        return
    s["momentum"].mul_(c["momentum"])
    add_quotient(s["momentum"], gradient, scale, c["into_buffer"])
    plus(p, s["momentum"], c["out_of_buffer"], out=p)


ADAGRAD = Rule(_adagrad, _adagrad_terms, slots=("square",))
ADADELTA = Rule(_adadelta, _adadelta_terms, slots=("square", "moved"))
RMSPROP = Rule(_rmsprop, _rmsprop_terms, slots=("square", "momentum"))
