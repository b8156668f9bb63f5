"""Convolutional networks: blocks that look for the same patterns everywhere, then dense layers.

A block is a convolution, norm, activation, pooling and dropout. `model.whiten` puts a fixed layer
before the blocks, and `model.pad_to` a black frame around the image.

When it helps: any image in which a pattern means the same wherever it stands; few weights serve all
places, so that few images suffice. It hurts where places differ in meaning, as columns of a table
do; and plain stacks of more than about eight convolutions train badly without a norm or, better, a
resnet's shortcuts.
Settings: 3 × 3 kernels with padding; 32 to 64 channels for digits, twice as many after each
pooling; one dense layer of about 128 units, with dropout 0.5 if it overfits.
Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.A;
He et al. 2016, arXiv:1512.03385, figure 1 (plain stacks that are too deep).

    cnn: Blocks of one convolution each, 32 and 64 channels, as in many tutorials. Source: LeCun et
        al. 1998, section II.A (the principle; relu, max pooling and 3 × 3 kernels are of later
        date).
    lenet5: The first that read digits at large: 6 and 16 channels, 5 × 5 kernels, mean pooling,
        tanh, dense layers of 120 and 84. Source: LeCun et al. 1998, section II.B (here its
        subsampling is a plain mean, every map sees all maps before it, and the output is linear).
    vgg: Stages of several 3 × 3 convolutions (`model.depth`, two each) between poolings: two see as
        far as one of 5 × 5, with fewer weights. Source: Simonyan & Zisserman 2015, arXiv:1409.1556,
        sections 2.1 and 2.3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ablate.nets.activations import activation_layer
from ablate.nets.layers import (
    around_activation,
    conv2d,
    dropout_layer,
    per_layer,
    weight_dropout,
)
from ablate.nets.mlp import Dense
from ablate.nets.pooling import pool_layer
from ablate.nets.shapes import BlockShape, block_shapes, whitened
from ablate.nets.whiten import Whitening


class CNN(nn.Module):
    """Blocks of convolution, norm, activation, pooling and dropout; then dense layers.

    With whitening, `model.pad_to` pads the whitened images.

    Args:
        config: A resolved configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.

    Shape:
        [B, C, H, W] -> [B, K].

    Raises:
        AblateError: A kernel does not fit into its map, or a patch into the image.
    """

    def __init__(
        self, config: Mapping[str, Any], shape: tuple[int, int, int], classes: int
    ) -> None:
        super().__init__()
        model = config["model"]
        shapes = block_shapes(model, *shape[1:])
        rates = per_layer(config["dropout"]["conv"], len(shapes))
        self.input_dropout = dropout_layer(config["dropout"], config["dropout"]["input"])
        self.whiten = _whitening(config, shape[0])
        channels, height, width = whitened(model, shape)
        self.frame = _frame(model.get("pad_to") or 0, height, width)
        self.conv = nn.ModuleList()
        for rate, block in zip(rates, shapes, strict=True):
            self.conv.append(_block(config, channels, rate, block))
            channels, height, width = block.channels, block.height, block.width
        self.dense = Dense(config, channels * height * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.whiten(self.input_dropout(x))
        if any(self.frame):
            x = F.pad(x, self.frame)
        for block in self.conv:
            x = block(x)
        logits: Tensor = self.dense(x.flatten(1))
        return logits


def _frame(side: int, height: int, width: int) -> list[int]:
    """Divide the missing pixels: left, right, above, below."""
    missing = [max(side - width, 0), max(side - height, 0)]
    return [part for m in missing for part in (m // 2, m - m // 2)]


def _whitening(config: Mapping[str, Any], channels: int) -> nn.Sequential:
    """Make the whitening and its activation; an empty sequence without whitening."""
    model = config["model"]
    steps: list[tuple[str, nn.Module]] = []
    if side := model.get("whiten"):
        steps = [("conv", Whitening(channels, side))]
        steps.append(("activation", activation_layer(model["activation"])))
    return nn.Sequential(OrderedDict(steps))


def _block(
    config: Mapping[str, Any], channels: int, rate: float, shape: BlockShape
) -> nn.Sequential:
    model, dropout = config["model"], config["dropout"]
    inner, bias = around_activation(config, shape.channels, spatial=True)
    convolution = conv2d(
        (channels, shape.channels),
        *(model["kernel_size"], model["stride"], shape.padding),
        bias=bias,
        drop=weight_dropout(dropout, rate),
    )
    steps: list[tuple[str, nn.Module]] = [("conv", convolution), *inner]
    if shape.pooled:
        steps.append(("pool", pool_layer(model["pool"])))
    steps.append(("dropout", dropout_layer(dropout, rate)))
    return nn.Sequential(OrderedDict(steps))
