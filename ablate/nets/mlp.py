"""`mlp` and `deep_mlp`: dense layers; with `model.hidden=[]` softmax regression.

What they do: every pixel weighs on every unit. They help as the plainest of baselines, and to show
what initial weights, activations and norms do to signals in deep networks. Settings that work: one
or two layers of 100 to 1000 units; `deep_mlp` has ten of 100 with tanh, as Glorot & Bengio 2010
used up to five to show why their initial weights matter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import prod
from typing import Any

from torch import Tensor, nn

from ablate.nets.layers import (
    around_activation,
    dropout_layer,
    linear,
    per_layer,
    weight_dropout,
)


class Dense(nn.Module):
    """The dense end of a network: hidden layers with norm, activation, dropout; then logits.

    Args:
        config: A resolved configuration.
        inputs: Units of the input.
        classes: Number of classes K.

    Shape:
        [B, inputs] -> [B, K].
    """

    def __init__(self, config: Mapping[str, Any], inputs: int, classes: int) -> None:
        super().__init__()
        hidden, dropout = config["model"]["hidden"], config["dropout"]
        rates = per_layer(dropout["dense"], len(hidden))
        self.layers = nn.ModuleList()
        for units, rate in zip(hidden, rates, strict=True):
            inner, bias = around_activation(config, units, spatial=False)
            layer = linear(inputs, units, bias, weight_dropout(dropout, rate))
            steps = [("linear", layer), *inner, ("dropout", dropout_layer(dropout, rate))]
            self.layers.append(nn.Sequential(OrderedDict(steps)))
            inputs = units
        self.output = linear(inputs, classes, drop=weight_dropout(dropout, dropout["output"]))
        self.output_dropout = dropout_layer(dropout, dropout["output"])

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
        self.input_dropout = dropout_layer(config["dropout"], config["dropout"]["input"])
        self.dense = Dense(config, prod(shape), classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.input_dropout(x).flatten(1))
        return logits
