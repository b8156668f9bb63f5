"""Sizes of networks by arithmetic alone, so that planning can check and measure them without torch.

Throughout, `model` is the `model` part of a configuration, `shape` the channels, height and width
of an image, `classes` the number of classes K.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from ablate.errors import AblateError

Model = Mapping[str, Any]

GATES: Final = {"rnn": 1, "lstm": 4, "gru": 3}  # blocks of rows in a recurrent layer's weights


# -- maps ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlockShape:
    """The shapes in a convolutional block.

    Attributes:
        channels: Output channels.
        padding: Zero padding of the convolution, in pixels.
        rows: Height of the convolution's map, before pooling.
        columns: Width of that map.
        pooled: Whether the block ends with pooling.
        height: Height of its output.
        width: Width of its output.
    """

    channels: int
    padding: int
    rows: int
    columns: int
    pooled: bool
    height: int
    width: int


def whitened(model: Model, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Compute channels, height and width of an image after whitening, if there is any.

    Raises:
        AblateError: A patch does not fit into the image.
    """
    side, (channels, height, width) = model.get("whiten"), shape
    if side is None:
        return shape
    if min(height, width) < side:
        raise AblateError(
            f"model.whiten={side} does not fit into images of {height} × {width}: use a smaller"
            " one, model.whiten=null or a larger data.image_size"
        )
    return 2 * channels * side**2, height - side + 1, width - side + 1


def block_shapes(model: Model, height: int, width: int) -> list[BlockShape]:
    """Follow an image through the convolutional blocks of a `cnn`, `lenet5` or `vgg`.

    Returns:
        One entry per convolution, without whitening's; those of a stage have the same channels, and
        the last may be pooled.

    Raises:
        AblateError: A kernel does not fit into its map, or whitening's patch into the image.
    """
    _, height, width = whitened(model, (1, height, width))
    kernel, stride = model["kernel_size"], model["stride"]
    padding = (kernel - 1) // 2 if model["padding"] == "same" else model["padding"]
    height, width = (max(side, model.get("pad_to") or 1) for side in (height, width))
    shapes = []
    for stage, channels, ends in _convolutions(model):
        if min(height, width) + 2 * padding < kernel:
            raise AblateError(
                f"model.kernel_size={kernel} does not fit into the {height} × {width} map that"
                f" block {stage} of model.channels sees (padding {padding}): use a smaller"
                " kernel, fewer blocks, model.padding=same or a larger data.image_size"
            )
        rows = (height + 2 * padding - kernel) // stride + 1
        columns = (width + 2 * padding - kernel) // stride + 1
        pooled = ends and model["pool"] != "none" and min(rows, columns) >= 2
        height, width = (rows // 2, columns // 2) if pooled else (rows, columns)
        shapes.append(BlockShape(channels, padding, rows, columns, pooled, height, width))
    return shapes


def _convolutions(model: Model) -> list[tuple[int, int, bool]]:
    """List the convolutions: stage from 1, channels, and whether it ends its stage."""
    stages, depth = model["channels"], model.get("depth", 1)
    depths = depth if isinstance(depth, list | tuple) else [depth] * len(stages)
    numbered = enumerate(zip(stages, depths, strict=True), start=1)
    return [
        (stage, channels, i == last)
        for stage, (channels, last) in numbered
        for i in range(1, last + 1)
    ]


@dataclass(frozen=True)
class UnitShape:
    """The shapes in a unit of a residual network.

    Attributes:
        inputs: Input channels.
        channels: Output channels.
        stride: Stride of its first convolution.
        residual: Whether it has two convolutions and a shortcut, rather than one convolution.
        pooled: Whether it ends with pooling.
        rows: Height of the convolutions' maps.
        columns: Width of these maps.
    """

    inputs: int
    channels: int
    stride: int
    residual: bool
    pooled: bool
    rows: int
    columns: int

    @property
    def projected(self) -> bool:
        """Whether the shortcut is a convolution, since sizes differ."""
        return self.residual and (self.inputs != self.channels or self.stride != 1)


def unit_shapes(model: Model, height: int = 1, width: int = 1) -> list[UnitShape]:
    """Follow an image through the units of a `resnet`, starting after its first convolution.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2; depth 9 is D. Page's network for the
        DAWNBench contest (2018).
    """
    shapes, inputs = [], model["width"]
    for factor, stride, residual, pools in _plan(model["depth"]):
        channels = factor * model["width"]
        height, width = -(-height // stride), -(-width // stride)
        pooled = pools and min(height, width) >= 2
        shapes.append(UnitShape(inputs, channels, stride, residual, pooled, height, width))
        height, width = (height // 2, width // 2) if pooled else (height, width)
        inputs = channels
    return shapes


def _plan(depth: int) -> list[tuple[int, int, bool, bool]]:
    """List the units: factor on the width, stride, whether residual, whether pooled."""
    if depth == 9:
        convolution, residual = (1, False, True), (1, True, False)
        units = ((2, convolution), (2, residual), (4, convolution), (8, convolution), (8, residual))
        return [(factor, *unit) for factor, unit in units]
    blocks = range((depth - 2) // 6)
    strides = {(factor, 0): 2 for factor in (2, 4)}
    return [(f, strides.get((f, block), 1), True, False) for f in (1, 2, 4) for block in blocks]


# -- weights ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightedLayer:
    """A convolution, or a linear layer.

    Attributes:
        weights: Numbers in its weight.
        width: Output channels or units.
        uses: How often the weight is applied to an image: pixels of the map, steps, or 1.
        shortcut: Whether it projects a residual unit's input.
        fixed: Whether its weight is not trained.
    """

    weights: int
    width: int
    uses: int = 1
    shortcut: bool = False
    fixed: bool = False


def _front(model: Model, shape: tuple[int, int, int]) -> tuple[list[WeightedLayer], int]:
    """List the layers before the dense ones, and how many inputs the dense ones get."""
    name = model.get("name")
    if name in GATES:
        return _recurrent(model, shape)
    if name == "resnet":
        return _residual(model, shape), _plan(model["depth"])[-1][0] * model["width"]
    if not model.get("channels"):
        return [], prod(shape)
    layers, (channels, height, width) = [], whitened(model, shape)
    if side := model.get("whiten"):
        weights = side**2 * shape[0] * channels
        layers.append(WeightedLayer(weights, channels, height * width, fixed=True))
    for block in block_shapes(model, *shape[1:]):
        weights = model["kernel_size"] ** 2 * channels * block.channels
        layers.append(WeightedLayer(weights, block.channels, block.rows * block.columns))
        channels, height, width = block.channels, block.height, block.width
    return layers, channels * height * width


def _residual(model: Model, shape: tuple[int, int, int]) -> list[WeightedLayer]:
    channels, height, width = shape
    layers = [WeightedLayer(9 * channels * model["width"], model["width"], height * width)]
    for unit in unit_shapes(model, height, width):
        pixels, out = unit.rows * unit.columns, unit.channels
        layers.append(WeightedLayer(9 * unit.inputs * out, out, pixels))
        if unit.residual:
            layers.append(WeightedLayer(9 * out * out, out, pixels))
        if unit.projected:
            layers.append(WeightedLayer(unit.inputs * out, out, pixels, shortcut=True))
    return layers


def _recurrent(model: Model, shape: tuple[int, int, int]) -> tuple[list[WeightedLayer], int]:
    channels, steps, width = shape
    layers, inputs = [], channels * width
    for units in model["hidden"]:
        rows = GATES[model["name"]] * units
        layers += [
            WeightedLayer(inputs * rows, rows, steps),
            WeightedLayer(units * rows, rows, steps),
        ]
        inputs = units
    return layers, inputs


def layers(model: Model, shape: tuple[int, int, int], classes: int) -> list[WeightedLayer]:
    """List the convolutions and linear layers of a shipped network, from the input on.

    Raises:
        AblateError: A kernel does not fit into its map.
    """
    found, inputs = _front(model, shape)
    hidden = [] if model.get("name") in GATES else model["hidden"]
    for units in [*hidden, classes]:
        found.append(WeightedLayer(inputs * units, units))
        inputs = units
    return found


def multiply_adds(model: Model, shape: tuple[int, int, int], classes: int) -> int:
    """Count the multiply-adds of one image's forward pass in convolutions and linear layers."""
    return sum(layer.weights * layer.uses for layer in layers(model, shape, classes))


# -- how many entries a list takes -----------------------------------------------------------------


def conv_layers(model: Model) -> int:
    """Count the rates that `dropout.conv` takes: one per convolution, in a `resnet` per unit."""
    if model.get("name") == "resnet":
        return len(unit_shapes(model))
    return len(_convolutions(model)) if model.get("channels") else 0


def dense_layers(model: Model) -> int:
    """Count the rates that `dropout.dense` takes: one per hidden layer, dense or recurrent."""
    return len(model.get("hidden") or [])


def weighted_layers(model: Model) -> int:
    """Count the entries that `init.layers` takes: one per trained layer of `layers`."""
    hidden = dense_layers(model)
    if model.get("name") in GATES:
        return 2 * hidden + 1
    if model.get("name") == "resnet":
        units = unit_shapes(model)
        return 1 + sum(1 + u.residual + u.projected for u in units) + hidden + 1
    return conv_layers(model) + hidden + 1


def norm_sites(
    model: Model, height: int, width: int, position: str = "before"
) -> list[tuple[int, int | None]]:
    """List what is normalized in a shipped network, given `norm.position`.

    Returns:
        Channels and pixels of each map; units and None for each dense or recurrent layer.

    Raises:
        AblateError: A kernel does not fit into its map.
    """
    before = position == "before"
    if gates := GATES.get(model.get("name", "")):
        return [(gates * units if before else units, None) for units in model["hidden"]]
    maps, _ = _front(model, (1, height, width))
    # A shortcut is normalized only if norms come before activations, as it ends before one.
    found = [(m.width, m.uses) for m in maps if not m.fixed and (before or not m.shortcut)]
    return [*found, *((units, None) for units in model["hidden"])]


def illegal_depth(model: Model) -> str | None:
    """Say what is wrong with `model.depth`, or None; other values of the model must be legal."""
    depth = model.get("depth")
    if model.get("name") == "resnet":
        if isinstance(depth, int) and (depth == 9 or (depth >= 8 and depth % 6 == 2)):
            return None
        return f"model.depth={depth} is illegal for resnet: use 9, or 6n + 2 (20, 32, 44, 56, 110)"
    stages = model.get("channels") or []
    if not isinstance(depth, list) or len(depth) == len(stages):
        return None
    return (
        f"model.depth has {len(depth)} numbers, but model.channels has {len(stages)} stages: give"
        " one number, or one for each stage"
    )
