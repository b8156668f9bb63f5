"""Dropout in the user's networks: torch's modules are replaced by ours, and back.

Ours draws from the run's own stream. To the user's code it still looks like the original: an
instance of torch's class, with a rate `p` that can be set at any time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ablate.errors import AblateError
from ablate.nets.dropout import Dropout


class OwnDropout(Dropout):
    """Our replacement for one of torch's modules.

    A checkpoint (`torch.utils.checkpoint`) recomputes a part of the network in the backward pass,
    and must get the masks of the forward pass. Each call is identified by a number from torch's
    generator, since a checkpoint restores the generator's state before it recomputes.

    Attributes:
        sets_rate: Whether the rate was set since this module was made.
    """

    inplace = False  # an attribute of torch's modules

    def __init__(self, rate: float, kind: str) -> None:
        super().__init__(rate, kind)
        self.sets_rate = False
        self._numbers: dict[int, int] | None = None  # a call's mark -> its number; None under vmap

    @property
    def p(self) -> float:
        """The rate, under torch's name."""
        return self._p

    @p.setter
    def p(self, rate: float) -> None:
        self._p = float(rate)
        self.rate.fill_(self._p)
        self.active, self.sets_rate = rate > 0, True

    def begin(self, key: Tensor) -> None:
        """Begin a step with its key, int64, 0-dimensional."""
        super().begin(key)
        self._numbers = {}

    def _count_call(self) -> int:
        if self._numbers is None:
            return super()._count_call()
        mark = int(torch.randint(2**62, ()))
        if mark not in self._numbers:
            if torch._C._current_graph_task_id() != -1:  # a backward pass is under way
                raise AblateError(
                    "a checkpoint with preserve_rng_state=False draws different dropout masks in"
                    " the backward pass: leave preserve_rng_state=True"
                )
            self._numbers[mark] = super()._count_call()
        return self._numbers[mark]


class _Elements(OwnDropout, nn.Dropout):
    """Of elements."""


class _Channels1d(OwnDropout, nn.Dropout1d):
    """Of channels of [B, C, L]."""


class _Channels2d(OwnDropout, nn.Dropout2d):
    """Of channels of [B, C, H, W]."""


class _Channels3d(OwnDropout, nn.Dropout3d):
    """Of channels of [B, C, D, H, W]."""


class _Alpha(OwnDropout, nn.AlphaDropout):
    """Of elements, for self-normalizing networks."""


_OURS: dict[type[nn.Module], tuple[type[OwnDropout], str]] = {
    nn.Dropout: (_Elements, "bernoulli"),
    nn.Dropout1d: (_Channels1d, "spatial"),
    nn.Dropout2d: (_Channels2d, "spatial"),
    nn.Dropout3d: (_Channels3d, "spatial"),
    nn.AlphaDropout: (_Alpha, "alpha"),
}
_TORCHS = {
    "bernoulli": nn.Dropout,
    "dropconnect": nn.Dropout,
    "spatial": nn.Dropout2d,
    "alpha": nn.AlphaDropout,
}


def with_own_dropout(module: nn.Module) -> nn.Module:
    """Replace torch's dropout modules by ours, in place; return the module."""
    if type(module) in _OURS:
        ours, kind = _OURS[type(module)]
        return ours(module.p, kind)  # type: ignore[arg-type]
    for name, child in _children(module):
        setattr(module, name, with_own_dropout(child))
    return module


def with_torch_dropout(module: nn.Module) -> nn.Module:
    """Replace our dropout modules by torch's, in place, for use outside our training.

    Those without an equivalent in torch (gaussian, whole images, other scalings) stay.
    """
    for torchs, (ours, _) in _OURS.items():
        if type(module) is ours:
            return torchs(module.p)
    if isinstance(module, Dropout):
        known = module.kind in _TORCHS and module.scaling == "inverted"
        return _TORCHS[module.kind](module.p) if known else module
    for name, child in _children(module):
        setattr(module, name, with_torch_dropout(child))
    return module


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List children under every name; `named_children` skips a shared child's second name."""
    return [(name, child) for name, child in module._modules.items() if child is not None]
