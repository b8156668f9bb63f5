"""One network applied to the weights of many runs at once, under torch's vmap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ablate.axis import Stacked
from ablate.nets.dropout import Dropout
from ablate.regularize.label_smoothing import cross_entropy
from ablate.train.vmap_rules import vmap_rules

Losses = Callable[[Stacked, Stacked, Tensor, Stacked], tuple[Tensor, Tensor]]


class Fused:
    """A network that gets stacked parameters and buffers with each call.

    Args:
        module: The network; its own parameters and buffers are not used.
        device: Where it is applied.
        autocast: Type of activations if lower than the weights', else None.
    """

    def __init__(
        self, module: nn.Module, device: torch.device, autocast: torch.dtype | None
    ) -> None:
        self._module, self._device = module, device
        self._applied = partial(_applied, module, device, autocast)
        self._dropouts = [layer for layer in module.modules() if isinstance(layer, Dropout)]
        self._losses: Losses = vmap(self._written())

    def _written(self) -> Losses:
        # Without `self`: a reference cycle would keep a finished stack on the device.
        applied = self._applied

        def loss(p: Stacked, b: Stacked, x_BCHW: Tensor, t: Stacked) -> tuple[Tensor, Tensor]:
            logits_BK = applied(p, b, x_BCHW)
            return cross_entropy(logits_BK, t), right(logits_BK.detach(), t)

        return loss

    def compile(self) -> None:
        """Have torch.compile write kernels for `losses` and their gradients, when first used.

        If it cannot, the operations stay as they are, and a warning says why.
        """
        written = self._losses
        fast = torch.compile(written, fullgraph=True, dynamic=False)

        def losses(p: Stacked, b: Stacked, x: Tensor, t: Stacked) -> tuple[Tensor, Tensor]:
            try:
                # One program per graph and width; torch's own limit is 8.
                with torch._dynamo.config.patch(recompile_limit=1024):
                    return fast(p, b, x, t)
            except torch._dynamo.exc.TorchDynamoException as error:
                reason = str(error).strip().split("\n")[0]
                warnings.warn(f"stack.compile=true is left out: {reason}", stacklevel=2)
                self._losses = written
                return written(p, b, x, t)

        self._losses = losses

    def losses(
        self, parameters: Stacked, buffers: Stacked, x_RBCHW: Tensor, target: Stacked
    ) -> tuple[Tensor, Tensor]:
        """Apply it in training mode; buffers are changed in place.

        Args:
            parameters: Name -> [R, ...].
            buffers: Likewise, dropout's rates and keys among them.
            x_RBCHW: Normalized images.
            target: As `label_smoothing.cross_entropy` takes it, stacked.

        Returns:
            Mean loss of each run, [R], and its right answers, float64 [R].
        """
        self._begin()
        return self._losses(parameters, buffers, x_RBCHW, target)

    def observe(self, parameters: Stacked, buffers: Stacked, x_BCHW: Tensor) -> None:
        """Pass one batch in training mode, to update the buffers."""
        self._begin()
        exactly = partial(_applied, self._module, self._device, None)
        vmap(exactly, in_dims=(0, 0, None))(parameters, buffers, x_BCHW)

    def logits(self, parameters: Stacked, buffers: Stacked, x: Tensor, *, apart: bool) -> Tensor:
        """Apply it in evaluation mode.

        Args:
            parameters: Name -> [R, ...].
            buffers: Likewise, dropout's rates among them.
            x: Normalized images [N, C, H, W], or [R, N, C, H, W].
            apart: Whether each run has its own images.

        Returns:
            [R, N, K].
        """
        self._module.eval()
        apply = vmap(self._applied, in_dims=(0, 0, 0 if apart else None))
        logits_RNK: Tensor = apply(parameters, buffers, x)
        return logits_RNK

    def _begin(self) -> None:
        self._module.train()
        for layer in self._dropouts:
            layer.calls = 0


def _applied(
    module: nn.Module,
    device: torch.device,
    autocast: torch.dtype | None,
    parameters: Stacked,
    buffers: Stacked,
    x_BCHW: Tensor,
) -> Tensor:
    """Apply a network to the tensors of one run, inside vmap."""
    with precision(device, autocast), vmap_rules(device, autocast):
        logits_BK: Tensor = functional_call(module, (parameters, buffers), (x_BCHW,))
    return logits_BK


_KNOWN: dict[str, Fused] = {}


def compiled(
    program: str, module: nn.Module, device: torch.device, autocast: torch.dtype | None
) -> Fused:
    """Make a compiled `Fused`; networks of one program share it, since compiling takes long.

    Args:
        program: Describes the graph, with the data's shape.
        module: A network of that graph.
        device: Where it is applied.
        autocast: As in `Fused`.
    """
    if program not in _KNOWN:
        _KNOWN[program] = Fused(module, device, autocast)
        _KNOWN[program].compile()
    return _KNOWN[program]


def precision(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager[Any]:
    """Make the context that lowers the type of activations, if asked for."""
    return nullcontext() if autocast is None else torch.autocast(device.type, autocast)


def right(logits_BK: Tensor, target: Stacked) -> Tensor:
    """Count right answers, float64; for a mixed image, each label counts by its share."""
    guess_B = logits_BK.argmax(-1)
    count = (guess_B == target["y"]).sum(-1).double()
    if "other" not in target:
        return count
    other = (guess_B == target["other"]).sum(-1).double()
    return target["share"] * count + (1 - target["share"]) * other
