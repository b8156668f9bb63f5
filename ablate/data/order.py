"""An order of images that does not depend on their order in the file.

Files are often sorted by class, so code that looks at the first images, or goes batch by batch,
would see only a few classes at a time. Here images are ordered by a hash of their content, so any
part of the order is a random sample, the same however the file is sorted.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ablate import rng

_PIXELS = 2**18  # at once: each becomes an int64


def by_content(blocks_NCHW: Iterable[Tensor], labels_N: Tensor) -> Tensor:
    """Order labelled images by a hash of their content.

    Args:
        blocks_NCHW: Images as stored, uint8 or float32, in blocks.
        labels_N: Their labels, int64; they tell equal images apart.

    Returns:
        int64 [N], a permutation, the same on every device; only images with equal pixels and labels
        may be swapped.
    """
    sums = [_sums(images_NCHW) for images_NCHW in blocks_NCHW]
    none = labels_N.new_empty(0)
    return rng.fold(torch.cat([none, *sums]), labels_N).argsort(stable=True)


def _sums(images_NCHW: Tensor) -> Tensor:
    rows_NP = images_NCHW.movedim(1, -1).flatten(1)  # a view where channels are last in memory
    if rows_NP.is_floating_point():
        rows_NP = rows_NP.view(torch.int32)
    places_P = torch.arange(rows_NP.shape[1], device=rows_NP.device)
    key = rng.stream(0, "data/order").to(rows_NP.device)
    weights_P = rng.fold(key, places_P)
    # Integer sums wrap around, so they are the same on every device, in any order of addition.
    at_once = max(_PIXELS // len(places_P), 1)
    return torch.cat([(part * weights_P).sum(1) for part in torch.split(rows_NP, at_once)])
