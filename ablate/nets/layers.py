"""Layers as the configuration asks for them: normalization, activation, dropout, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ablate.nets import own
from ablate.nets.activations import activation_layer
from ablate.nets.convolution import Conv2d
from ablate.nets.dropout import DropConnectConv2d, DropConnectLinear, Dropout
from ablate.nets.norms import keeps_bias, norm_layer

_DROPOUT = ("input", "conv", "dense", "output", "kind", "scaling", "_target_")  # the knobs


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
