"""Dense networks: layers in which every number of the image weighs on every unit.

When it helps: as the plainest of baselines, on small and centred images; and to show what initial
weights, activations and norms do to signals in deep networks. It hurts where a pattern may stand
anywhere: what is learned at one place is not known at another, so that with as many parameters it
generalizes worse than a conv net.
Settings: one or two hidden layers of 100 to 1000 units with relu; dropout.input 0.2 and
dropout.dense 0.5 where they overfit; with ten layers a norm, or initial weights that suit.
Source: Rumelhart, Hinton & Williams 1986, Nature 323; LeCun et al. 1998, "Gradient-based learning",
section III.C and figure 9 (dense against convolutional).

    mlp: One hidden layer of 128 units with relu, unless `model.hidden` lists others; with
        `model.hidden=[]` softmax regression. Source: Rumelhart, Hinton & Williams 1986, Nature 323,
        equations 1 and 2.
    deep_mlp: Ten hidden layers of 100 units with tanh: deep enough that signals vanish or saturate
        where initial weights do not suit. Source: Glorot & Bengio 2010, AISTATS, section 2.3 (there
        one to five layers of 1000 units).
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
