"""Layers as the configuration asks for them: normalization, activation, dropout, weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from math import gcd
from typing import Any

from torch import Tensor, nn

from ablate.config.targets import FUNCTION, locate
from ablate.nets import own
from ablate.nets.convolution import Conv2d
from ablate.nets.dropout import DropConnectConv2d, DropConnectLinear, Dropout

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
_DROPOUT = ("input", "conv", "dense", "output", "kind", "scaling", "_target_")  # the knobs


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of [B, C, H, W]; maps of one pixel are laid out as in `DenseBatchNorm`."""

    def forward(self, x: Tensor) -> Tensor:
        lifted = _lifted(x, self)
        if x.shape[-2:].numel() > 1:
            return super().forward(lifted).to(x.dtype)
        # A copy: torch 2.15's backward is wrong for the transposed view itself, unless vmapped.
        y_1CB1 = super().forward(lifted.flatten(1).t().contiguous()[None, :, :, None])
        return y_1CB1[0, :, :, 0].t().to(x.dtype).view_as(x)


class DenseBatchNorm(nn.BatchNorm1d):
    """Batch norm of [B, C], computed as [1, C, B].

    The statistics are the same, but each channel is summed along contiguous memory. Under vmap,
    torch's layout [B, R × C] sums columns in blocks of the vector width, so that a run's last bits
    would depend on its slot.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_lifted(x, self).t()[None])[0].t().to(x.dtype)


def _lifted(x: Tensor, norm: nn.modules.batchnorm._NormBase) -> Tensor:
    """Convert x to the type of the norm's tensors, which torch requires under vmap on a CPU."""
    if x.is_cuda:
        return x
    held = norm.weight if norm.running_mean is None else norm.running_mean
    return x if held is None else x.to(held.dtype)


class Function(nn.Module):
    """The user's function as a module.

    Args:
        function: Tensor -> tensor.
        extra: Its keyword arguments.
    """

    def __init__(self, function: Any, extra: Mapping[str, Any]) -> None:
        super().__init__()
        self.function, self.extra = function, dict(extra)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(x, **self.extra)
        return y


def norm_layer(norm: Mapping[str, Any], width: int, spatial: bool) -> nn.Module | None:
    """Make the normalization of a layer.

    Args:
        norm: The `norm` part of a configuration.
        width: Channels or units.
        spatial: Whether the input is [B, C, H, W] rather than [B, C].

    Returns:
        The module, or None if there is nothing to normalize (no norm; instances of a single unit).

    Raises:
        AblateError: The user's own norm cannot be constructed.
    """
    kind = norm["name"]
    if kind == "none" or (kind == "instance" and not spatial):
        return None
    if kind == "custom":
        extra = {k: v for k, v in norm.items() if k not in ("name", "_target_", "position")}
        return own.part(norm["_target_"], "norm._target_", width, **extra)
    if kind == "batch":
        cls = BatchNorm if spatial else DenseBatchNorm
        running = norm["eval"] == "running"
        return cls(
            width,
            eps=norm["eps"],
            momentum=norm["momentum"],
            affine=norm["affine"],
            track_running_stats=running,
        )
    # Layer norm over [C, H, W] is one group, instance norm a group per channel.
    groups = {"layer": 1, "group": gcd(norm.get("groups", 1), width), "instance": width}[kind]
    return nn.GroupNorm(groups, width, eps=norm["eps"], affine=norm["affine"])


def activation_layer(activation: str | Mapping[str, Any]) -> nn.Module:
    """Make an activation: by its name, or the user's own class or function.

    Args:
        activation: `model.activation`: a name, or `_target_` and keyword arguments.

    Raises:
        AblateError: The user's own cannot be constructed.
    """
    if isinstance(activation, str):
        return ACTIVATIONS[activation]()
    target, knob = activation["_target_"], "model.activation._target_"
    extra = {name: value for name, value in activation.items() if name != "_target_"}
    if inspect.isclass(found := locate(target, knob, FUNCTION)):
        return own.part(target, knob, **extra)
    return Function(found, extra)


def around_activation(
    config: Mapping[str, Any], width: int, spatial: bool
) -> tuple[list[tuple[str, nn.Module]], bool]:
    """Make norm and activation in the order given by `norm.position`.

    Returns:
        Named modules, and whether the layer before them keeps its bias: right before a norm, the
        only effect of a bias is rounding noise, which Adam amplifies.
    """
    activation = activation_layer(config["model"]["activation"])
    norm = norm_layer(config["norm"], width, spatial)
    if norm is None:
        return [("activation", activation)], True
    if config["norm"]["position"] == "after":
        return [("activation", activation), ("norm", norm)], True
    return [("norm", norm), ("activation", activation)], keeps_bias(config["norm"])


def keeps_bias(norm: Mapping[str, Any]) -> bool:
    """Tell whether a layer right before this norm needs a bias.

    The user's own norm might: it may leave the mean in, as RMS norm does.
    """
    return bool(norm["name"] == "custom")


def per_layer(rates: Any, layers: int) -> list[float]:
    """Spread a rate, or a list of rates, over the layers."""
    return list(rates) if isinstance(rates, list | tuple) else [rates] * layers


# -- dropout, and the weights in front of it -------------------------------------------------------


def dropout_layer(dropout: Mapping[str, Any], rate: float) -> nn.Module:
    """Make the dropout module of a site.

    Args:
        dropout: The `dropout` part of a configuration.
        rate: Probability of zeroing.

    Returns:
        Ours, the user's own, or the identity if the weights before it are dropped instead.

    Raises:
        AblateError: The user's own cannot be constructed.
    """
    if target := dropout.get("_target_"):
        extra = {name: value for name, value in dropout.items() if name not in _DROPOUT}
        return own.part(target, "dropout._target_", rate, **extra)
    return nn.Identity() if _drops_weights(dropout) else _dropout(dropout, rate)


def weight_dropout(dropout: Mapping[str, Any], rate: float) -> Dropout | None:
    """Make the dropout of the weights before a site; None except for `dropconnect`."""
    return _dropout(dropout, rate) if _drops_weights(dropout) else None


def linear(inputs: int, units: int, bias: bool = True, drop: Dropout | None = None) -> nn.Linear:
    """Make a linear layer; with `drop`, its weights are dropped."""
    if drop is None:
        return nn.Linear(inputs, units, bias=bias)
    return DropConnectLinear(inputs, units, bias, drop)


def conv2d(
    channels: tuple[int, int],
    kernel: int,
    stride: int,
    padding: int,
    bias: bool,
    drop: Dropout | None = None,
) -> Conv2d:
    """Make a convolution from input to output channels, as `linear` does."""
    if drop is None:
        return Conv2d(*channels, kernel, stride, padding, bias=bias)
    return DropConnectConv2d(drop, *channels, kernel, stride, padding, bias=bias)


def _drops_weights(dropout: Mapping[str, Any]) -> bool:
    return dropout.get("kind") == "dropconnect" and not dropout.get("_target_")


def _dropout(dropout: Mapping[str, Any], rate: float) -> Dropout:
    return Dropout(rate, dropout.get("kind", "bernoulli"), dropout.get("scaling", "inverted"))
