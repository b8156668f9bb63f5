"""The memory of activations in training and evaluation, by arithmetic alone.

A network is described by the operations that torch performs, each with the bytes of its output and
of what autograd keeps. A walk over them, forward and back again, finds the peak. All numbers are
per run and image, unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """An operation of a network; sizes in bytes.

    Attributes:
        name: Its name, for a reader.
        input: Its input.
        output: Its output.
        keeps_input: Whether autograd keeps its input.
        keeps_output: Whether autograd keeps its output.
        made: What else it makes that autograd keeps in training: copies of its input, positions of
            maxima.
        kept: What exists only in training and is kept: masks, a cell's values at each step.
        scratch: What is freed when the operation ends.
        aside: What evaluation needs besides input and output; by default `made` and `scratch`.
        beside: What else is alive during the forward pass: the input of its block or unit.
        backward: Temporary memory of the backward pass, besides the gradients of its input and
            output.
        weights: Number of its trained weights, per run rather than per image.
        layout: The layout that its input needs, ``channel`` or ``image``; None for any.
    """

    name: str
    input: int
    output: int
    keeps_input: bool = False
    keeps_output: bool = False
    made: int = 0
    kept: int = 0
    scratch: int = 0
    aside: int | None = None
    beside: int = 0
    backward: int = 0
    weights: int = 0
    layout: str | None = None


def forward_peak(operations: Sequence[Operation]) -> int:
    """Find the peak in evaluation besides the images: bytes per image."""
    return max(
        (o.input if number else 0) + o.output + o.beside + _aside(o)
        for number, o in enumerate(operations)
    )


def _aside(o: Operation) -> int:
    return o.made + o.scratch if o.aside is None else o.aside


def training_peak(operations: Sequence[Operation], batch: int, size: int) -> int:
    """Find the peak of forward and backward pass besides the images, in bytes.

    Args:
        operations: The network's operations.
        batch: Images in a batch.
        size: Bytes of a weight.
    """
    each = _kept(operations)
    peak = so_far = 0
    for number, o in enumerate(operations):
        alive = o.made + o.kept + o.scratch + o.output + o.beside
        alive += 0 if _is_kept(operations, number - 1) else o.input
        peak = max(peak, batch * (so_far + alive))
        so_far += each[number]
    # When a gradient passes an operation, whatever it and earlier ones keep is still there, and so
    # are the gradients of the weights of later ones.
    gradients = 0
    for number, o in reversed(list(enumerate(operations))):
        gradients += o.weights * size
        passing = (o.input if number else 0) + o.output + o.backward
        peak = max(peak, batch * (so_far + passing) + gradients)
        so_far -= each[number]
    return peak


def kept_bytes(operations: Sequence[Operation]) -> int:
    """Sum what autograd keeps from the forward to the backward pass."""
    return sum(_kept(operations))


def _kept(operations: Sequence[Operation]) -> list[int]:
    """List what each operation adds to what is kept; a tensor kept by two counts once."""
    return [
        o.made + o.kept + (o.output if _is_kept(operations, number) else 0)
        for number, o in enumerate(operations)
    ]


def _is_kept(operations: Sequence[Operation], number: int) -> bool:
    """Tell whether an operation's output is kept, by itself or by the next operation."""
    if number < 0:
        return True  # the images, which are there anyway
    by_next = number + 1 < len(operations) and operations[number + 1].keeps_input
    return operations[number].keeps_output or by_next
