"""Sums a run, and strengths a run: the arithmetic that the methods share.

torch's own reductions choose their order of additions by the shape of the whole tensor and by the
number of threads, so that the last bits of a run's sum would depend on how many mates it has. Here
halves are added elementwise until one number is left: the same order at every R, and a rounding
error that grows with log N instead of N (Higham 1993, SIAM J. Sci. Comput. 14(4)).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


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


def along(values_R: Tensor, like: Tensor) -> Tensor:
    """Shape one value a run so that it broadcasts over [R, ...], in that tensor's type."""
    return values_R.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def plus(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """Return x + strength·y, rounded once; x itself, bit for bit, where the strength is 0."""
    # Adding 0·y would turn -0.0 into 0.0, and where y is infinite give NaN.
    return torch.where(strength == 0, x, torch.addcmul(x, y, strength))


def pushed(
    gradients: dict[str, Tensor], forces: Iterable[tuple[str, Tensor]], strength_R: Tensor
) -> dict[str, Tensor]:
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
