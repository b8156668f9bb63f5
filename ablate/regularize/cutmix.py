"""CutMix: paste a box of another image, and weight the labels by the areas.

When it helps: as mixup, and more on larger images, where it also teaches to use the whole object:
no pixel is wasted (as by cutout) nor blurred (as by mixup).
Settings: α = 1, many epochs.
Source: Yun et al. 2019, arXiv:1905.04899, section 3.1, equations 1 and 2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sides(share: Tensor, length: int) -> Tensor:
    """Turn the share λ of the area that stays into a box's side √(1 - λ)·length, whole pixels."""
    return ((1 - share).sqrt() * length).round().long()


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
