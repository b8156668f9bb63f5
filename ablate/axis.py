"""What a leading R is: R runs in one tensor, and the arithmetic that keeps them apart.

A stacked tensor is [R, ...], a slice for each run. Whatever is computed of it must leave a run with
the same bits at every R and in every slot, and that is what this module is for.

torch's own reductions choose their order of additions by the shape of the whole tensor and by the
number of threads, so the last bits of a run's sum would depend on how many mates it has. `pairwise`
adds halves elementwise until one number is left: the same order at every R, and a rounding error
that grows with log N instead of N (Higham 1993, SIAM J. Sci. Comput. 14(4)).

Images are [R, B, C, H, W] throughout, channels last in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

Stacked = dict[str, Tensor]  # a name -> [R, ...]

# The number of a step. Where a step is captured once and launched again for each that follows, it
# is an int64 tensor on the device, 0-dimensional, that counts by itself: asking for its value would
# make the device wait.
Step = int | Tensor


def row(table: Tensor, step: Step) -> Tensor:
    """Look a step's row up in a table [T, ...]."""
    return table[step] if isinstance(step, int) else table.index_select(0, step.view(1))[0]


# -- sums of each run ------------------------------------------------------------------------------


def pairwise(x: Tensor) -> Tensor:
    """Sum the last axis, [..., N] -> [...], with the same bits whatever the other axes; N ≥ 1."""
    while (count := x.shape[-1]) > 1:
        half = count // 2
        sums = x[..., :half] + x[..., half : 2 * half]
        if count % 2:
            sums[..., 0] += x[..., -1]
        x = sums
    return x[..., 0]


def total(tensors: Iterable[Tensor]) -> Tensor:
    """Sum all elements of each run over stacked tensors [R, ...] of one type: [R]."""
    return pairwise(torch.cat([tensor.flatten(1) for tensor in tensors], 1))


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Take the Euclidean norm of each run over stacked tensors [R, ...] of one type: [R]."""
    return total(tensor.square() for tensor in tensors).sqrt()


# -- one value a run -------------------------------------------------------------------------------


def along(values_R: Tensor, like: Tensor) -> Tensor:
    """Shape one value a run so that it broadcasts over [R, ...], in that tensor's type."""
    return values_R.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def plus(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """Return x + strength·y, rounded once; x itself, bit for bit, where the strength is 0."""
    # Adding 0·y would turn -0.0 into 0.0, and where y is infinite give NaN.
    return torch.where(strength == 0, x, torch.addcmul(x, y, strength))


def pushed(gradients: Stacked, forces: Iterable[tuple[str, Tensor]], strength_R: Tensor) -> Stacked:
    """Add strength·force to the gradients of those parameters that a force pulls at.

    Args:
        gradients: name -> [R, ...]; left as they are.
        forces: Names and [R, ...].
        strength_R: float64; a run with 0 keeps its gradients bit for bit.

    Returns:
        All gradients, new tensors for those alone.
    """
    added = {name: plus(gradients[name], force, along(strength_R, force)) for name, force in forces}
    return gradients | added


# -- images ----------------------------------------------------------------------------------------


def channels_last(images: Tensor) -> Tensor:
    """Lay images [..., C, H, W] out with their channels last in memory.

    With a single channel any layout is the same, but torch's convolution goes by the strides.
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
