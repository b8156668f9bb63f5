"""Layers that carry a knob: dropout with its own stream, normalization, activations, blocks."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from ablate import rng

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class Dropout(nn.Module):
    """Zeroes each element with probability ``rate`` in training and scales the rest by 1/(1-rate).

    The mask is a function of the buffer ``key``, which the trainer sets at each step; rate and key
    are buffers, so that they may differ along the run axis.

    Args:
        rate: Probability of zeroing, in [0, 1).
        whole_channels: Zero whole channels of [B, C, ...], as torch's Dropout2d does.

    Source: Srivastava et al. 2014, JMLR 15 (scaled in training: their section 10).
    """

    rate: Tensor
    key: Tensor

    def __init__(self, rate: float, whole_channels: bool = False) -> None:
        super().__init__()
        self.whole_channels = whole_channels
        self.active = rate > 0  # in a fused stack: whether any of its runs drops here
        self.calls = 0  # in this step
        self.p = float(rate)  # under torch's name, as a user's own code may ask for it
        rate_ = torch.tensor(self.p, dtype=torch.float64)  # follows the network's type later
        self.register_buffer("rate", rate_, persistent=False)
        self.register_buffer("key", torch.tensor(0, dtype=torch.int64), persistent=False)

    def begin(self, key: Tensor) -> None:
        """Begin a step with its key, int64, 0-dimensional."""
        self.key, self.calls = key, 0

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.active):
            return x
        # A module that is called again in one pass draws another mask.
        key = self.key if self.calls == 0 else rng.fold(self.key, self.calls)
        self.calls += 1
        keep = 1 - self.rate
        shape = x.shape
        if self.whole_channels:
            shape = torch.Size((*x.shape[:2], *[1] * (x.dim() - 2)))
        mask = rng.keep_mask(key, keep, shape)
        if x.dtype == torch.float64:  # else an integer times a number is torch's default, float32
            mask = mask.double()
        scale = (-1 / keep).nan_to_num(neginf=0)
        return x * (mask * scale).to(x.dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate.tolist()}"


# What torch calls its own; the elementwise one and those that drop whole channels.
_TORCH_DROPOUT = {nn.Dropout: False, nn.Dropout1d: True, nn.Dropout2d: True, nn.Dropout3d: True}


def with_own_dropout(module: nn.Module) -> nn.Module:
    """Replace torch's dropout modules by ours, in place; return the module."""
    if type(module) in _TORCH_DROPOUT:
        return Dropout(module.p, _TORCH_DROPOUT[type(module)])  # type: ignore[arg-type,index]
    for name, child in _children(module):
        setattr(module, name, with_own_dropout(child))
    return module


def with_torch_dropout(module: nn.Module) -> nn.Module:
    """Replace our dropout modules by torch's, in place, for use outside a training of ours."""
    if isinstance(module, Dropout):
        rate = module.p
        return nn.Dropout2d(rate) if module.whole_channels else nn.Dropout(rate)
    for name, child in _children(module):
        setattr(module, name, with_torch_dropout(child))
    return module


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List children by every name: `named_children` leaves out the second name of a shared one."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


class DenseBatchNorm(nn.BatchNorm1d):
    """Batch norm of [B, C], computed as [1, C, B].

    The same statistics, but each channel is summed along contiguous memory. Under vmap torch lays
    [B, R × C] side by side and sums columns in blocks of the vector width, so that a run's last
    bits would depend on its slot.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.t()[None])[0].t()


def norm_layer(norm: Mapping[str, Any], width: int, spatial: bool) -> nn.Module | None:
    """Make the normalization of a layer.

    Args:
        norm: The `norm` part of a configuration.
        width: Channels or units.
        spatial: Whether the input is [B, C, H, W] rather than [B, C].

    Returns:
        The module, or None where there is nothing to normalize (no norm; one unit an instance).
    """
    kind = norm["name"]
    if kind == "none" or (kind == "instance" and not spatial):
        return None
    if kind == "batch":
        cls = nn.BatchNorm2d if spatial else DenseBatchNorm
        running = norm["eval"] == "running"
        return cls(
            width,
            eps=norm["eps"],
            momentum=norm["momentum"],
            affine=norm["affine"],
            track_running_stats=running,
        )
    # Layer norm over [C, H, W] is one group, instance norm is a group a channel.
    groups = {"layer": 1, "group": gcd(norm.get("groups", 1), width), "instance": width}[kind]
    return nn.GroupNorm(groups, width, eps=norm["eps"], affine=norm["affine"])


def around_activation(
    config: Mapping[str, Any], width: int, spatial: bool
) -> tuple[list[tuple[str, nn.Module]], bool]:
    """Make norm and activation in the order that `norm.position` says.

    Returns:
        Named modules, and whether the layer before them keeps its bias: a bias right before a norm
        has no effect but rounding noise, which Adam amplifies.
    """
    activation = ACTIVATIONS[config["model"]["activation"]]()
    norm = norm_layer(config["norm"], width, spatial)
    if norm is None:
        return [("activation", activation)], True
    if config["norm"]["position"] == "after":
        return [("activation", activation), ("norm", norm)], True
    return [("norm", norm), ("activation", activation)], False


def per_layer(rates: Any, layers: int) -> list[float]:
    """Spread a rate, or a list of rates, over the layers."""
    return list(rates) if isinstance(rates, list | tuple) else [rates] * layers
