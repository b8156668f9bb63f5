"""Finds out whether a network can be applied to many runs at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ablate import rng
from ablate.axis import Stacked
from ablate.nets.own_dropout import OwnDropout
from ablate.train.vmap_rules import vmap_rules


def unbatchable(module: nn.Module, x_BCHW: Tensor) -> str | None:
    """Try a network under vmap.

    Args:
        module: The network; it is not changed.
        x_BCHW: A few images.

    Returns:
        Why it must be looped (it draws its own random numbers, sets rates, or has an operation
        without a batching rule), or None.
    """
    trained = [name for name, p in module.named_parameters() if p.requires_grad]
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    stacked = {name: torch.stack([t.detach(), t.detach()]) for name, t in state.items()}
    leaves = [stacked[name].requires_grad_() for name in trained]

    def apply(s: Stacked) -> Tensor:
        with vmap_rules(x_BCHW.device, None):
            out: Tensor = functional_call(module.train(), s, (x_BCHW,))
        return out

    before = rng.drawn_state()
    try:
        logits_RBK = vmap(apply, randomness="error")(stacked)
        # Backward too, since a checkpoint fails only there.
        torch.autograd.grad(logits_RBK.sum(), leaves, allow_unused=True)
        if any(isinstance(m, OwnDropout) and m.sets_rate for m in module.modules()):
            return "it sets the rates of its dropout"
        if rng.draws(before):
            return "it draws from the global generator of Python or numpy"
    # A user's network may raise anything under vmap; it is then looped, and the reason shown.
    except Exception as error:
        return str(error).strip().split("\n")[0][:200] or type(error).__name__
    return None
