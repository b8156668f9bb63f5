"""What activations take while a network trains and while it is evaluated, by arithmetic alone.

A network is written down as the operations that torch performs, each with the bytes of its output
and of what autograd keeps of it. A walk over them, forward and back again, then finds the moment at
which most is alive. Everything is of one run and one image, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """An operation of a network; all in bytes.

    Attributes:
        name: What it is, for a reader.
        input: Of its input.
        output: Of its output.
        keeps_input: Whether autograd keeps its input.
        keeps_output: Whether autograd keeps its output.
        made: What it makes besides, and autograd keeps in training: copies of its input, places of
            maxima.
        kept: What exists in training only, and is kept: masks, what cells hold at each step.
        scratch: What is dropped when the operation ends.
        aside: What evaluation has besides input and output; by default what is made, and scratch.
        beside: What is alive meanwhile on the forward pass: the input of its block or unit.
        backward: What the backward pass takes for a while, besides the gradients of its input and
            its output.
        weights: Numbers that are trained in it, of the run rather than of an image.
        layout: The layout that it wants its input in, ``channel`` or ``image``; None for any.
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
    """Find the most that is alive in evaluation besides the images: bytes of an image."""
    return max(
        (o.input if number else 0) + o.output + o.beside + _aside(o)
        for number, o in enumerate(operations)
    )


def _aside(o: Operation) -> int:
    return o.made + o.scratch if o.aside is None else o.aside


def training_peak(operations: Sequence[Operation], batch: int, size: int) -> int:
    """Find the most that is alive on the way to the gradients besides the images, in bytes.

    Args:
        operations: Of a network.
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
    # Where a gradient passes, all that is kept by this operation and those before is still there,
    # and the gradients of the weights behind it.
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
    """List what each operation adds to what is kept; a tensor that two of them keep counts once."""
    return [
        o.made + o.kept + (o.output if _is_kept(operations, number) else 0)
        for number, o in enumerate(operations)
    ]


def _is_kept(operations: Sequence[Operation], number: int) -> bool:
    """Tell whether the output of an operation is kept, by itself or by the next."""
    if number < 0:
        return True  # the images, which are there anyway
    by_next = number + 1 < len(operations) and operations[number + 1].keeps_input
    return operations[number].keeps_output or by_next
