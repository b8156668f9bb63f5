"""`cnn`: convolutional blocks, then dense layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ablate.nets.layers import Dropout, around_activation, per_layer
from ablate.nets.mlp import Dense
from ablate.nets.shapes import BlockShape, block_shapes

_POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class CNN(nn.Module):
    """Blocks of convolution, norm, activation, pooling and dropout; then dense layers.

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
        model, (channels, height, width) = config["model"], shape
        shapes = block_shapes(model, height, width)
        rates = per_layer(config["dropout"]["conv"], len(shapes))
        self.input_dropout = Dropout(config["dropout"]["input"])
        self.conv = nn.ModuleList()
        for out, rate, block in zip(model["channels"], rates, shapes, strict=True):
            self.conv.append(_block(config, channels, out, rate, block))
            channels, height, width = out, block.height, block.width
        self.dense = Dense(config, channels * height * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_dropout(x)
        for block in self.conv:
            x = block(x)
        logits: Tensor = self.dense(x.flatten(1))
        return logits


def _block(
    config: Mapping[str, Any], channels: int, out: int, rate: float, shape: BlockShape
) -> nn.Sequential:
    model = config["model"]
    inner, bias = around_activation(config, out, spatial=True)
    convolution = nn.Conv2d(
        channels, out, model["kernel_size"], model["stride"], shape.padding, bias=bias
    )
    steps: list[tuple[str, nn.Module]] = [("conv", convolution), *inner]
    if shape.pooled:
        steps.append(("pool", _POOLS[model["pool"]](2)))
    steps.append(("dropout", Dropout(rate)))
    return nn.Sequential(OrderedDict(steps))
