"""The leading axis R: R runs in one tensor, and arithmetic that keeps them independent.

A stacked tensor is [R, ...], with a slice for each run. A run must get the same bits at every R and
in every slot, whatever is computed; the functions here guarantee that.

torch's own reductions choose their order of additions by the shape of the whole tensor and the
number of threads, so the last bits of a run's sum would depend on the other runs in its stack.
`pairwise` adds halves elementwise until one number is left: the order is the same at every R, and
the rounding error grows with log N instead of N (Higham 1993, SIAM J. Sci. Comput. 14(4)).

Images are [R, B, C, H, W] throughout, channels last in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

Stacked = dict[str, Tensor]  # a name -> [R, ...]

# The number of a step. Under a CUDA graph, where a step is captured once and replayed, it is a
# 0-dimensional int64 tensor on the device that counts by itself; reading its value would force a
# synchronization.
Step = int | Tensor


def row(table: Tensor, step: Step) -> Tensor:
    """Look up a step's row in a table [T, ...]."""
    return table[step] if isinstance(step, int) else table.index_select(0, step.view(1))[0]


# -- some of the runs ------------------------------------------------------------------------------

EVERY_RUN: Final = slice(None)


def sliced(tensors: Stacked, runs: slice) -> Stacked:
    """Take views of some runs' slices."""
    return {name: tensor[runs] for name, tensor in tensors.items()}


def parts(width: int, most: int) -> list[slice]:
    """Cut the runs of a stack into parts of nearly equal size, none with a single run.

    Args:
        width: R.
        most: Runs per part at most; at least 2 if R is even, at least 3 if it is odd, unless R is
            1.
    """
    count = -(-width // most)
    size, more = divmod(width, count)
    ends = [number * size + min(number, more) for number in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


# -- sums of each run ------------------------------------------------------------------------------


def pairwise(x: Tensor) -> Tensor:
    """Sum the last axis, [..., N] -> [...]; the bits do not depend on the other axes; N ≥ 1."""
    while (count := x.shape[-1]) > 1:
        half = count // 2
        sums = x[..., :half] + x[..., half : 2 * half]
        if count % 2:
            sums[..., 0] += x[..., -1]
        x = sums
    return x[..., 0]


def total(tensors: Iterable[Tensor]) -> Tensor:
    """Sum all elements of each run, over stacked tensors [R, ...] of one dtype; returns [R]."""
    return pairwise(torch.cat([tensor.flatten(1) for tensor in tensors], 1))


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Compute each run's Euclidean norm over stacked tensors [R, ...] of one dtype; returns [R]."""
    return total(tensor.square() for tensor in tensors).sqrt()


# -- one value for each run ------------------------------------------------------------------------


def along(values_R: Tensor, like: Tensor) -> Tensor:
    """Reshape one value per run to broadcast over [R, ...], in that tensor's type."""
    return values_R.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def plus(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """Return x + strength·y, rounded once; x itself, bit for bit, where the strength is 0."""
    # Adding 0·y would turn -0.0 into 0.0, and give NaN if y is infinite.
    return torch.where(strength == 0, x, torch.addcmul(x, y, strength))


def pushed(gradients: Stacked, forces: Iterable[tuple[str, Tensor]], strength_R: Tensor) -> Stacked:
    """Add strength·force to the gradients of those parameters for which a force is given.

    Args:
        gradients: name -> [R, ...]; not modified.
        forces: Pairs of a name and a force [R, ...].
        strength_R: float64 [R]; a run with 0 keeps its gradients bit for bit.

    Returns:
        All gradients; only those with a force are new tensors.
    """
    added = {name: plus(gradients[name], force, along(strength_R, force)) for name, force in forces}
    return gradients | added


# -- images ----------------------------------------------------------------------------------------


def channels_last(images: Tensor) -> Tensor:
    """Store images [..., C, H, W] with the channels last in memory.

    A single channel has the same bytes either way, but torch's convolution looks at the strides.
    """
    last = images.movedim(-3, -1)
    return last.reshape(-1).view(last.shape).movedim(-1, -3)


def box_mask(u: Tensor, v: Tensor, high: Tensor, wide: Tensor, height: int, width: int) -> Tensor:
    """Mark boxes whose centres are uniform in the image, clipped at its border.

    Args:
        u: Random numbers on (0, 1) for the centre's row, [...].
        v: Likewise for its column.
        high: Rows of the box before clipping, int64, broadcast against ``u``; 0 for no box.
        wide: Its columns.
        height: Of the image, H.
        width: Of the image, W.

    Returns:
        bool [..., H, W], true inside.
    """
    rows, columns = _span(u, high, height), _span(v, wide, width)
    return rows[..., :, None] & columns[..., None, :]


def _span(u: Tensor, side: Tensor, length: int) -> Tensor:
    start = ((u * length).long() - side // 2)[..., None]
    place = torch.arange(length, device=u.device)
    return (place >= start) & (place < start + side[..., None])
