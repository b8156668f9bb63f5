"""`mlp`: dense layers; with `model.hidden=[]` softmax regression."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from ablate.nets.layers import Dropout, around_activation, per_layer


class Dense(nn.Module):
    """The dense end of a network: hidden layers of units, norm, activation, dropout; then logits.

    Args:
        config: A resolved configuration.
        inputs: Units of the input.
        classes: Number of classes K.

    Shape:
        [B, inputs] -> [B, K].
    """

    def __init__(self, config: Mapping[str, Any], inputs: int, classes: int) -> None:
        super().__init__()
        hidden = config["model"]["hidden"]
        rates = per_layer(config["dropout"]["dense"], len(hidden))
        self.layers = nn.ModuleList()
        for units, rate in zip(hidden, rates, strict=True):
            inner, bias = around_activation(config, units, spatial=False)
            linear = nn.Linear(inputs, units, bias=bias)
            steps = [("linear", linear), *inner, ("dropout", Dropout(rate))]
            self.layers.append(nn.Sequential(OrderedDict(steps)))
            inputs = units
        self.output = nn.Linear(inputs, classes)
        self.output_dropout = Dropout(config["dropout"]["output"])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.output_dropout(self.output(x))
        return logits


class MLP(nn.Module):
    """Dense layers on the flattened image.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.

    Shape:
        [B, C, H, W] -> [B, K].
    """

    def __init__(
        self, config: Mapping[str, Any], shape: tuple[int, int, int], classes: int
    ) -> None:
        super().__init__()
        self.input_dropout = Dropout(config["dropout"]["input"])
        self.dense = Dense(config, prod(shape), classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.input_dropout(x).flatten(1))
        return logits
