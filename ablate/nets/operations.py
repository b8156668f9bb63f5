"""The operations that torch performs for a shipped network, with the memory of each.

Under vmap (*fused*) most operations need the runs in one of two layouts; if the operation before
has left them in the other, their input is copied:

    by channel    [B, R · C, H, W]    convolutions (in groups), pooling, batch norm
    by image      [R · B, C, H, W]    the other norms; images come in this one

What autograd keeps, by operation (torch 2.13): a convolution and a product their input; relu, tanh
and sigmoid their output, other activations their input; pooling its input, and the positions of
maxima as int64; dropout its mask, in the activation's type; a norm its input, and if it is fused
and not a batch norm, also the normalized input, which a separate operation multiplies by the
weight; log-softmax its output. If fused, a bias is added by a separate operation.

Source: torch's derivatives.yaml and functorch's batching rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

from ablate.nets import shapes
from ablate.nets.memory import Operation
from ablate.nets.shapes import GATES

Config = Mapping[str, Any]

BYTES: Final = {"fp32": 4, "bf16": 4, "fp64": 8}  # of a weight; activations of bf16 take 2
_INDEX = 8  # int64
_MASK = 4  # int32, in which dropout draws
_KEEP_THEIR_OUTPUT = ("relu", "tanh", "sigmoid")
# Per unit and step: gates and products that the backward pass needs besides the states.
_KEPT_BY_CELLS = {"rnn": 0, "lstm": 6, "gru": 7}


def operations(
    config: Config, shape: tuple[int, int, int], classes: int, *, fused: bool
) -> list[Operation]:
    """List the operations of a shipped network, from the images to the loss.

    Args:
        config: A resolved configuration; layers that are off are left out.
        shape: Channels, height and width of an image.
        classes: Number of classes K.
        fused: Whether it is applied under vmap.

    Raises:
        AblateError: A kernel does not fit into its map.
    """
    model = config["model"]
    walk = _Walk(config, shape, fused)
    walk.dropout("input")
    if model["name"] in GATES:
        walk.recurrent(shape)
    elif model["name"] == "resnet":
        walk.residual(shape)
    elif model.get("channels"):
        walk.blocks(shape)
    if model["name"] not in GATES:
        walk.hidden(model["hidden"])
    walk.product(classes, (walk.numbers + 1) * classes)
    walk.dropout("output")
    walk.loss(classes)
    return _with_copied_gradients(walk.done)


def _with_copied_gradients(done: Sequence[Operation]) -> list[Operation]:
    """Add the copies of gradients that reach an operation with the other layout."""
    found: list[Operation] = []
    arrives: str | None = None
    for o in reversed(done):
        differs = o.layout is not None and arrives is not None and o.layout != arrives
        found.append(replace(o, backward=o.backward + o.output) if differs else o)
        arrives = o.layout or arrives
    return found[::-1]


class _Walk:
    """A walk of an image through a network; `numbers` is the size of the current activation."""

    def __init__(self, config: Config, shape: tuple[int, int, int], fused: bool) -> None:
        self._config, self._fused = config, fused
        self._full = BYTES[config["precision"]]
        self._low = config["precision"] == "bf16"
        self._size = self._full  # bytes of a number of the activation
        self._layout = "image" if fused else None
        self._owed = 0  # the gradient that waits for the end of a branch
        self.numbers, self._channels = prod(shape), shape[0]
        self.done: list[Operation] = []
        self._enter(0)

    @property
    def _bytes(self) -> int:
        return self.numbers * self._size

    def _add(self, name: str, numbers: int, *, size: int | None = None, **other: Any) -> None:
        """Add an operation whose output has that many numbers."""
        entered, self.numbers, self._size = self._bytes, numbers, size or self._size
        besides = {
            "beside": self._beside if len(self.done) > self._since else 0,
            "backward": other.pop("backward", 0) + self._owed,
        }
        self.done.append(Operation(name, entered, self._bytes, **besides, **other))

    def _enter(self, beside: int | None = None) -> None:
        """Begin a block, whose input stays alive since its caller holds it."""
        self._beside = self._bytes if beside is None else beside
        self._since = len(self.done)

    def _laid(self, layout: str) -> int:
        """Bring the activation into a layout; return the bytes of the copy that this needs."""
        differs = self._fused and self._layout != layout
        self._layout = layout if self._fused else None
        return self._bytes if differs else 0

    # -- layers ------------------------------------------------------------------------------------

    def convolution(
        self, channels: int, pixels: int, weights: int, *, bias: bool = True, fixed: bool = False
    ) -> None:
        """Convolve; if fused, with a group per run."""
        cast = self._cast()
        # A single channel is the same in both layouts.
        copy = self._laid("channel") * (self._channels > 1)
        given = copy or cast
        self._channels = channels
        biased = channels * pixels * (2 if self._low else self._size)
        self._add(
            "convolution",
            channels * pixels,
            size=2 if self._low else None,
            keeps_input=not (given or fixed),
            made=0 if fixed else given,
            scratch=(given if fixed else cast if copy else 0) + biased * (bias and self._fused),
            weights=0 if fixed else weights,
            layout=self._layout,
        )

    def product(self, units: int, weights: int, *, bias: bool = True) -> None:
        """Multiply by a matrix."""
        given = self._cast()
        size = 2 if self._low else self._size
        self._add(
            "product",
            units,
            size=size,
            keeps_input=not given,
            made=given,
            scratch=units * size * (bias and self._fused),
            weights=weights,
        )

    def _cast(self) -> int:
        """Lower the activation's type for a product; return the bytes of the copy."""
        if not self._low or self._size == 2:
            return 0
        self._size = 2
        return self._bytes

    def activation(self) -> None:
        """Apply the activation of the configuration."""
        name = self._config["model"].get("activation", "tanh")
        own = not isinstance(name, str)
        output = name in _KEEP_THEIR_OUTPUT
        keeps = {"keeps_input": own or not output, "keeps_output": own or output}
        self._add("activation", self.numbers, **keeps)

    def pool(self, kind: str, pixels: int) -> None:
        """Pool 2 × 2."""
        copy = self._laid("channel")
        numbers = self._channels * pixels
        places = numbers * _INDEX if kind == "max" else 0
        self._add("pooling", numbers, keeps_input=not copy, made=copy + places, layout=self._layout)

    def norm(self, spatial: bool, features: int) -> None:
        """Normalize as the configuration says."""
        norm = self._config["norm"]
        kind = norm["name"]
        if kind == "none" or (kind == "instance" and not spatial):
            return
        copy = 0
        if spatial:
            copy = self._laid("channel" if kind == "batch" else "image")
        affine, before = norm.get("affine", True), self._size
        # Autocast computes norms in float32, except batch norm and those that vmap takes apart.
        apart = self._fused and kind != "batch"
        lifts = before != self._full and kind != "batch"
        size = self._full if lifts and not apart else before
        lifted = self.numbers * size if size != before else 0
        # A separate operation multiplies this by the weight, which is of the full type.
        outside = self.numbers * size if affine and apart else 0
        after = self._full if lifts and (affine or not apart) else before
        given = lifted or copy
        # Batch norm's mean and deviation are per batch, not per image.
        groups = {"batch": 0, "group": norm.get("groups"), "instance": features}.get(kind, 1)
        self._add(
            f"{kind} norm",
            self.numbers,
            size=after,
            keeps_input=not given,
            made=given + outside,
            kept=2 * groups * size,
            scratch=(self.numbers * after if outside else 0) + (copy if lifted else 0),
            # Batch norm of units makes each channel contiguous over the batch.
            aside=max(given, outside, 0 if spatial or kind != "batch" else self.numbers * size),
            backward=outside,
            weights=2 * features if affine else 0,
            layout=self._layout if spatial else None,
        )

    def dropout(self, site: str, number: int = 0) -> None:
        """Drop where a rate says so."""
        dropout = self._config["dropout"]
        rate = dropout[site]
        rate = rate[number] if isinstance(rate, list | tuple) else rate
        kind = dropout.get("kind", "bernoulli")
        if not rate or kind == "dropconnect":
            return
        drawn = self._channels if kind == "spatial" else self.numbers
        self._add(
            "dropout", self.numbers, kept=drawn * self._size, scratch=2 * drawn * _MASK, aside=0
        )

    def loss(self, classes: int) -> None:
        """Take the cross entropy, in float32 at least."""
        self._add("log-softmax", classes, size=self._full, keeps_output=True)

    # -- networks ----------------------------------------------------------------------------------

    def blocks(self, shape: tuple[int, int, int]) -> None:
        """Walk through the blocks of a `cnn`, `lenet5` or `vgg`."""
        model = self._config["model"]
        channels, height, width = shapes.whitened(model, shape)
        if side := model.get("whiten"):
            self.convolution(channels, height * width, side**2 * shape[0] * channels, fixed=True)
            self.activation()
        side = model.get("pad_to") or 0
        if side > min(height, width):
            self._add("frame", channels * max(side, height) * max(side, width))
        for number, block in enumerate(shapes.block_shapes(model, *shape[1:])):
            self._enter()
            weights = (model["kernel_size"] ** 2 * self._channels + self._biased) * block.channels
            pixels = block.rows * block.columns
            self.convolution(block.channels, pixels, weights, bias=self._biased)
            self._around_activation(spatial=True)
            if block.pooled:
                self.pool(model["pool"], block.height * block.width)
            self.dropout("conv", number)
        self._enter(0)

    def hidden(self, units: Sequence[int]) -> None:
        """Walk through the hidden layers of a network's dense end."""
        if self._fused and not self.done and self._channels > 1:
            # Images are channels last, so flattening copies them.
            self._add("flatten", self.numbers)
        for number, count in enumerate(units):
            self._enter()
            weights = (self.numbers + self._biased) * count
            self.product(count, weights, bias=self._biased)
            self._around_activation(spatial=False)
            self.dropout("dense", number)
        self._enter(0)

    def _around_activation(self, spatial: bool) -> None:
        features = self._channels if spatial else self.numbers
        before = self._config["norm"].get("position") != "after"
        if before:
            self.norm(spatial, features)
        self.activation()
        if not before:
            self.norm(spatial, features)

    @property
    def _biased(self) -> bool:
        """Whether convolutions keep their bias: not right before a norm."""
        norm = self._config["norm"]
        return norm["name"] in ("none", "custom") or norm.get("position") == "after"

    def residual(self, shape: tuple[int, int, int]) -> None:
        """Walk through a `resnet`, up to the pooling over whole maps."""
        model = self._config["model"]
        units = shapes.unit_shapes(model, *shape[1:])
        whole = model["depth"] == 9
        self._thrice(model["width"], shape[1] * shape[2])
        self._around_activation(spatial=True)
        for number, unit in enumerate(units):
            if unit.residual:
                self._unit(number, unit, whole)
            else:
                self._plain(number, unit)
        self._add("pooling", units[-1].channels, keeps_input=whole, keeps_output=whole)

    def _thrice(self, channels: int, pixels: int) -> None:
        """Convolve 3 × 3."""
        weights = (9 * self._channels + self._biased) * channels
        self.convolution(channels, pixels, weights, bias=self._biased)

    def _plain(self, number: int, unit: shapes.UnitShape) -> None:
        self._enter()
        self._thrice(unit.channels, unit.rows * unit.columns)
        self._around_activation(spatial=True)
        if unit.pooled:
            self.pool("max", (unit.rows // 2) * (unit.columns // 2))
        self.dropout("conv", number)
        self._enter(0)

    def _unit(self, number: int, unit: shapes.UnitShape, whole: bool) -> None:
        entered, pixels = self._bytes, unit.rows * unit.columns
        self._enter()
        self._owed = unit.channels * pixels * self._size  # the gradient of the sum
        self._thrice(unit.channels, pixels)
        self._around_activation(spatial=True)
        self.dropout("conv", number)
        middle = self._bytes
        self._thrice(unit.channels, pixels)
        self._beside = entered + middle
        if whole:
            self._around_activation(spatial=True)
        else:
            self.norm(True, unit.channels)
        self._beside = entered
        if self._config["regularize"].get("stochastic_depth"):
            self._add("stochastic depth", self.numbers)
        if unit.projected:
            # torch computes the shortcut first; the peak is the same.
            self._beside = entered + self._bytes
            weights = (unit.inputs + self._biased) * unit.channels
            self._add("shortcut", self.numbers, weights=weights)
            self.norm(True, unit.channels)
        self._owed = 0
        self._add("sum", self.numbers)
        self._enter(0)
        if not whole:
            self.activation()

    def recurrent(self, shape: tuple[int, int, int]) -> None:
        """Walk through recurrent layers; the state after the last step is left."""
        model, (_, steps, _) = self._config["model"], shape
        gates, kept = GATES[model["name"]], _KEPT_BY_CELLS[model["name"]]
        inputs = self.numbers // steps
        self._add("rows as steps", self.numbers)
        before = self._config["norm"].get("position") != "after"
        for number, units in enumerate(model["hidden"]):
            wide = gates * units
            self._enter()
            # In the other cells, one bias, that from state to state, serves both products.
            bias = model["name"] == "gru" and self._biased
            self.product(steps * wide, (inputs + bias) * wide, bias=bias)
            if before:
                self.norm(False, wide)
            full = self._full  # adding the bias from state to state gives its type
            states, products = steps * units * full, self.numbers * full
            self._add(
                "steps",
                steps * units,
                size=full,
                keeps_output=True,  # the last state is a view of all of them
                made=states,  # one by one, until they are stacked
                kept=kept * states,
                # The products of one step, and the products of all steps with the bias added.
                scratch=2 * wide * full + (0 if model["name"] == "gru" else products - states),
                weights=(units + 1) * wide,
            )
            if not before:
                self.norm(False, units)
            if number + 1 < len(model["hidden"]):
                self.dropout("dense", number)
            inputs = units
        self._enter(0)
        if model["hidden"]:
            self._add("last state", model["hidden"][-1])
            self.dropout("dense", len(model["hidden"]) - 1)
