"""Sizes of feature maps by arithmetic alone, so that a plan can check them without building."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.errors import AblateError


@dataclass(frozen=True)
class BlockShape:
    """What a convolutional block makes of its input.

    Attributes:
        padding: Zero padding of the convolution, in pixels.
        rows: Height of the convolution's own map, before pooling.
        columns: Width of it.
        pooled: Whether the block ends in a pooling.
        height: Height of its output.
        width: Width of its output.
    """

    padding: int
    rows: int
    columns: int
    pooled: bool
    height: int
    width: int


def block_shapes(model: Mapping[str, Any], height: int, width: int) -> list[BlockShape]:
    """Follow an image through the convolutional blocks of a `cnn`.

    Args:
        model: The `model` part of a configuration.
        height: The image's height.
        width: The image's width.

    Raises:
        AblateError: A kernel does not fit into its map.
    """
    kernel, stride = model["kernel_size"], model["stride"]
    padding = (kernel - 1) // 2 if model["padding"] == "same" else model["padding"]
    shapes = []
    for number, _ in enumerate(model["channels"], start=1):
        if min(height, width) + 2 * padding < kernel:
            raise AblateError(
                f"model.kernel_size={kernel} does not fit into the {height} × {width} map that"
                f" block {number} of model.channels sees (padding {padding}): take a smaller"
                " kernel, fewer blocks, model.padding=same or a larger data.image_size"
            )
        height = (height + 2 * padding - kernel) // stride + 1
        width = (width + 2 * padding - kernel) // stride + 1
        rows, columns = height, width
        pooled = model["pool"] != "none" and min(rows, columns) >= 2
        if pooled:
            height, width = rows // 2, columns // 2
        shapes.append(BlockShape(padding, rows, columns, pooled, height, width))
    return shapes


def training_bytes(
    model: Mapping[str, Any], shape: tuple[int, int, int], classes: int, batch: int
) -> int:
    """Estimate the memory that one run of a shipped network needs while it trains, in bytes.

    Each layer's output is held about three times (before and after the activation, and its
    gradient), each parameter six times (itself, its gradient, two of the optimizer's, two on the
    way), all in float32.

    Args:
        model: The `model` part of a configuration.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
        batch: Images a step.
    """
    channels, height, width = shape
    outputs, parameters = channels * height * width, 0
    if model.get("channels"):
        for out, block in zip(model["channels"], block_shapes(model, height, width), strict=True):
            outputs += block.rows * block.columns * out
            parameters += model["kernel_size"] ** 2 * channels * out
            channels, height, width = out, block.height, block.width
    inputs = channels * height * width
    for units in [*model["hidden"], classes]:
        outputs += units
        parameters += inputs * units
        inputs = units
    return 4 * (3 * batch * outputs + 6 * parameters)


def multiply_adds(model: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> int:
    """Count the multiplications of one image's forward pass, in convolutions and dense layers.

    Args:
        model: The `model` part of a configuration, of a shipped network.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
    """
    channels, height, width = shape
    total = 0
    if model.get("channels"):
        blocks = block_shapes(model, height, width)
        for out, block in zip(model["channels"], blocks, strict=True):
            total += block.rows * block.columns * model["kernel_size"] ** 2 * channels * out
            channels, height, width = out, block.height, block.width
    inputs = channels * height * width
    for units in [*model["hidden"], classes]:
        total += inputs * units
        inputs = units
    return total
