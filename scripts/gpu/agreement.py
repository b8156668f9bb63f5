"""How far two trainings, or two results, are from each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ablate.train.training import Training


def distance(one: Training, other: Training, r: int, s: int) -> float:
    """Return the largest relative difference between run r of one training and s of another."""
    a, b = one.stack.slice(r), other.stack.slice(s)
    far = [
        (a[k] - b[k]).abs().max() / a[k].abs().max().clamp(min=0.1)
        for k in a
        if a[k].is_floating_point()
    ]
    return worst(far)


def worst(far: Sequence[torch.Tensor]) -> float:
    """Return the largest of some numbers; infinity if any is not finite."""
    return float(torch.stack([f.double().cpu() for f in far]).nan_to_num(torch.inf).max())


def same(one: Training, other: Training, r: int, s: int) -> bool:
    """Tell whether two runs hold the same bits; NaN equals NaN."""
    a, b = one.stack.slice(r), other.stack.slice(s)
    return all(torch.equal(a[k].nan_to_num(7.7), b[k].nan_to_num(7.7)) for k in a)
