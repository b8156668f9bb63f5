"""CutMix: paste a box of another image, and weight the labels by the areas.

When it helps: as mixup, and more on larger images, where it also teaches to use the whole object:
no pixel is wasted (as by cutout) nor blurred (as by mixup).
Settings: α = 1, many epochs.
Source: Yun et al. 2019, arXiv:1905.04899, section 3.1, equations 1 and 2.
"""

from __future__ import annotations

from torch import Tensor


def sides(share: Tensor, length: int) -> Tensor:
    """Compute a box's side √(1 - λ)·length in whole pixels, for λ the share of area that stays."""
    return ((1 - share).sqrt() * length).round().long()
