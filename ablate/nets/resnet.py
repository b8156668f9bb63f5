"""Residual networks: each unit adds a correction to what it was given.

Where sizes change, the shortcut is a 1 × 1 convolution. Rates of `dropout.conv` act between a
unit's two convolutions.

When it helps: from about ten layers on, since the sums carry gradients to the first layers
unchanged. It wants a norm and a falling learning rate. It hurts by its cost where little depth is
needed: on images of 28 × 28, depth 20 takes 31 million products an image, the default cnn 4.
Settings: depth 20 (6n + 2 layers: 20, 32, 44, 56, 110), width 16, batch norm, nesterov at 0.1; for
CIFAR in little time depth 9, width 64; dropout.conv 0.1 to 0.3; stochastic depth with a last rate
of 0.2 to 0.5 from 56 layers on.
Source: He et al. 2016, arXiv:1512.03385, section 4.2 (6n + 2 layers; shortcuts by option B of their
section 4.1); D. Page, "How to train your ResNet", 2018 (depth 9, here without the factor on its
logits); Zagoruyko & Komodakis 2016, arXiv:1605.07146, section 2.4 (dropout); Huang et al. 2016,
arXiv:1603.09382, section 3 (stochastic depth).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ablate.nets.dropout import Dropout
from ablate.nets.layers import (
    around_activation,
    conv2d,
    dropout_layer,
    per_layer,
    weight_dropout,
)
from ablate.nets.mlp import Dense
from ablate.nets.shapes import UnitShape, unit_shapes

Config = Mapping[str, Any]
Named = list[tuple[str, nn.Module]]


class ResNet(nn.Module):
    """A convolution, units, pooling over the whole map (maximum at depth 9, else mean), logits.

    Args:
        config: A resolved configuration; `regularize.stochastic_depth` is the rate at which the
            last residual branch is left out, rising linearly with depth.
        shape: Channels, height and width of an image.
        classes: Number of classes K.

    Shape:
        [B, C, H, W] -> [B, K].
    """

    def __init__(self, config: Config, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        model, dropout = config["model"], config["dropout"]
        units = unit_shapes(model, *shape[1:])
        rates = per_layer(dropout["conv"], len(units))
        self.whole_maximum = model["depth"] == 9
        self.input_dropout = dropout_layer(dropout, dropout["input"])
        self.stem = nn.Sequential(OrderedDict(_convolution(config, shape[0], model["width"])))
        self.units = nn.ModuleList()
        branches = sum(unit.residual for unit in units)
        last = config.get("regularize", {}).get("stochastic_depth", 0)
        for unit, rate in zip(units, rates, strict=True):
            if not unit.residual:
                self.units.append(_plain(config, unit, rate))
                continue
            number = 1 + sum(isinstance(u, Residual) for u in self.units)
            parts = _page if self.whole_maximum else _he
            self.units.append(Residual(*parts(config, unit, rate), last * number / branches))
        self.dense = Dense(config, units[-1].channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.input_dropout(x))
        for unit in self.units:
            x = unit(x)
        pooled_BC = x.amax((2, 3)) if self.whole_maximum else x.mean((2, 3))
        logits: Tensor = self.dense(pooled_BC)
        return logits


class Residual(nn.Module):
    """A unit that adds a branch to its input.

    Args:
        branch: Computes the correction of the input.
        shortcut: Applied to the input before the sum.
        after: Applied to the sum.
        rate: Probability of leaving the branch out in training, image by image; branches that stay
            are scaled by 1/(1-rate).

    Shape:
        [B, C, H, W] -> [B, C', H', W'].
    """

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, after: nn.Module, rate: float
    ) -> None:
        super().__init__()
        self.branch, self.shortcut, self.after = branch, shortcut, after
        self.stochastic_depth = Dropout(rate, "image")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.shortcut(x) + self.stochastic_depth(self.branch(x)))
        return y


def _convolution(
    config: Config, inputs: int, channels: int, stride: int = 1, drop: Dropout | None = None
) -> Named:
    """Make a convolution, 3 × 3, with norm and activation."""
    inner, bias = around_activation(config, channels, spatial=True)
    return [("conv", conv2d((inputs, channels), 3, stride, 1, bias, drop)), *inner]


def _plain(config: Config, unit: UnitShape, rate: float) -> nn.Sequential:
    dropout = config["dropout"]
    drop = weight_dropout(dropout, rate)
    steps = _convolution(config, unit.inputs, unit.channels, unit.stride, drop)
    if unit.pooled:
        steps.append(("pool", nn.MaxPool2d(2)))
    return nn.Sequential(OrderedDict([*steps, ("dropout", dropout_layer(dropout, rate))]))


def _branch(config: Config, unit: UnitShape, rate: float, second: Named) -> nn.Sequential:
    """Make the first convolution and dropout, and append the given second convolution."""
    dropout = config["dropout"]
    drop = weight_dropout(dropout, rate)
    first = _convolution(config, unit.inputs, unit.channels, unit.stride, drop)
    steps: Named = [
        ("first", nn.Sequential(OrderedDict(first))),
        ("dropout", dropout_layer(dropout, rate)),
        ("second", nn.Sequential(OrderedDict(second))),
    ]
    return nn.Sequential(OrderedDict(steps))


def _page(config: Config, unit: UnitShape, rate: float) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Make a unit of depth 9: both activations are in the branch."""
    second = _convolution(config, unit.channels, unit.channels)
    return _branch(config, unit, rate, second), nn.Identity(), nn.Identity()


def _he(config: Config, unit: UnitShape, rate: float) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Make a unit of He et al.: the sum comes right before the second activation."""
    second, after = _cut(_convolution(config, unit.channels, unit.channels))
    shortcut: nn.Module = nn.Identity()
    if unit.projected:
        inner, bias = around_activation(config, unit.channels, spatial=True)
        project = conv2d((unit.inputs, unit.channels), 1, unit.stride, 0, bias)
        steps, _ = _cut([("conv", project), *inner])
        shortcut = nn.Sequential(OrderedDict(steps))
    branch = _branch(config, unit, rate, second)
    return branch, shortcut, nn.Sequential(OrderedDict(after))


def _cut(steps: Named) -> tuple[Named, Named]:
    """Split the steps before the activation."""
    at = [name for name, _ in steps].index("activation")
    return steps[:at], steps[at:]
