"""Adam and its kin: a mean of gradients over the root of a mean of their squares."""

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
    lerp,
)

_SLOTS = ("mean", "square")


def _terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    return c | {
        "step": -(c["lr"] / (1 - c["beta1"] ** count)),
        "correction": (1 - c["beta2"] ** count).sqrt(),
        "1-beta1": 1 - c["beta1"],
        "1-beta2": 1 - c["beta2"],
    }


def _decoupled_terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    terms = _terms(c, count, products)
    if "weight_decay" in c:
        terms["shrink"] = 1 - c["lr"] * c["weight_decay"]
    return terms


def _nadam_terms(c: PerRun, count: Step, products: PerRun) -> PerRun:
    now, after = (
        c["beta1"] * (1 - 0.5 * 0.96 ** (t * c["momentum_decay"])) for t in (count, count + 1)
    )
    product = products["mu_product"]  # float32, as in torch for weights of any type
    product.mul_(now.to(product.dtype))
    so_far = product.to(now.dtype)
    return c | {
        "gradient_step": -c["lr"] * (1 - now) / (1 - so_far),
        "mean_step": (-c["lr"] * after) / (1 - so_far * after),
        "correction": 1 - c["beta2"] ** count,
        "1-beta1": 1 - c["beta1"],
        "1-beta2": 1 - c["beta2"],
    }


def _track(gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    lerp(s["mean"], gradient, c["1-beta1"])
    s["square"].mul_(c["beta2"])
    add_product(s["square"], gradient, c["1-beta2"])


def _adam(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Step by the mean gradient over the root mean square, both freed from their start at 0.

    Steps are about lr long in every weight, whatever the gradient's size, so it needs little
    tuning: lr 1e-4 to 3e-3 with beta1 0.9 and beta2 0.999. Weight decay stands in the gradient and
    is divided with it, which weakens it where gradients are large.

    Source: Kingma & Ba 2015, algorithm 1; torch.optim.Adam.
    """
    gradient = decayed(gradient, p, c)
    _track(gradient, s, c)
    scale = s["square"].sqrt().div_(c["correction"]).add_(c["eps"])
    add_quotient(p, s["mean"], scale, c["step"])


def _adamw(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Shrink the weights by lr·weight_decay, then step as Adam does without decay.

    Decay acts alike on all weights, so it and the rate can be tuned apart. Decay 0.01 to 0.1.

    Source: Loshchilov & Hutter 2019, algorithm 2; torch.optim.AdamW.
    """
    if "shrink" in c:
        p.mul_(c["shrink"])
    _track(gradient, s, c)
    scale = s["square"].sqrt().div_(c["correction"]).add_(c["eps"])
    add_quotient(p, s["mean"], scale, c["step"])


def _nadam(p: Tensor, gradient: Tensor, s: Stacked, c: Coefficients) -> None:
    """Step as Adam does, with Nesterov's look ahead and a momentum that rises over time.

    The momentum of step t is beta1·(1 - 0.96^(t·momentum_decay) / 2): half of beta1 at first.
    Settings as for Adam with momentum_decay 0.004; the gain over Adam is small and comes early.

    Source: Dozat 2016 (ICLR workshop: Incorporating Nesterov momentum into Adam); the schedule of
    the momentum as in torch.optim.NAdam.
    """
    gradient = decayed(gradient, p, c)
    _track(gradient, s, c)
    scale = s["square"].div(c["correction"]).sqrt_().add_(c["eps"])
    add_quotient(p, gradient, scale, c["gradient_step"])
    add_quotient(p, s["mean"], scale, c["mean_step"])


ADAM = Rule(_adam, _terms, _SLOTS)
ADAMW = Rule(_adamw, _decoupled_terms, _SLOTS)
NADAM = Rule(_nadam, _nadam_terms, _SLOTS, products=("mu_product",))
