"""Whitening: a fixed first layer whose outputs are uncorrelated and of variance 1.

The layer looks at every k × k patch along the eigenvectors of the patches' covariance, each divided
by its standard deviation, and once more with the other sign, so that relu loses nothing. It is
fitted to the training images before training and stays as it is; its bias alone is learned.

When it helps: short trainings on natural images. Neighbouring pixels are much alike, so that the
loss is steep along few directions of the first weights and flat along most; after whitening it is
not. It hurts where the faint directions are mostly noise, which it makes as large as all others.
Settings: k = 2 (24 channels from RGB; Jordan) or 3 (Page), and a norm in the blocks that follow.
Source: Jordan 2024, arXiv:2404.00498, section 3.2, after D. Page's network for the DAWNBench
contest (2018-2019). As in Jordan's code 5e-4 is added to the eigenvalues (Page: 1e-2) and 5,000
images are used; here the covariance is about the mean of the patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 5e-4  # added to the eigenvalues, in units of the pixels' variance
_PIXELS = 2**18  # at a time, since k² copies of each are held in float64
_TIE = 1e-6  # relative: entries of an eigenvector this close differ only by rounding


class Whitening(nn.Conv2d):
    """A convolution with fixed filters, stride 1, no padding and a learned bias that starts at 0.

    The filters are zero until they are fitted to images (`covariance`, `filters`).

    Args:
        channels: Channels C of an image.
        side: Height and width k of a patch.

    Shape:
        [B, C, H, W] -> [B, 2Ck², H - k + 1, W - k + 1].
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels, 2 * channels * side**2, side)
        self.weight.requires_grad_(False)
        assert self.bias is not None, "a convolution has one unless told otherwise"
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def covariance(images: Tensor, std: Tensor, side: int) -> Tensor:
    """Compute the covariance of all patches of normalized images.

    Args:
        images: Images as stored, [N, C, H, W].
        std: The standard deviation by which each channel is normalized, [C, 1, 1].
        side: Height and width k of a patch.

    Returns:
        float64 [Ck², Ck²] on the CPU, entries of a patch in the order C, k, k. Sums over uint8
        pixels are whole numbers below 2^53, so they do not depend on order, device or threads.
    """
    _, channels, height, width = images.shape
    rows, columns, size = height - side + 1, width - side + 1, channels * side**2
    sum_P = torch.zeros(size, dtype=torch.float64, device=images.device)
    squares_PP = torch.zeros(size, size, dtype=torch.float64, device=images.device)
    count = 0
    for part in torch.split(images, max(_PIXELS // (height * width), 1)):
        x_CNHW = part.movedim(1, 0).double().contiguous()
        places = [(y, x) for y in range(side) for x in range(side)]
        moved = [x_CNHW[..., y : y + rows, x : x + columns] for y, x in places]
        patches_PS = torch.stack(moved, 1).view(size, -1)  # unfold takes three times as long
        sum_P += patches_PS.sum(1)
        squares_PP += patches_PS @ patches_PS.T
        count += patches_PS.shape[1]
    mean_P = (sum_P / count).cpu()
    std_P = std.flatten().double().cpu().repeat_interleave(side**2)
    covariance_PP = squares_PP.cpu() / count - mean_P[:, None] * mean_P
    return covariance_PP / (std_P[:, None] * std_P)


def filters(covariance_PP: Tensor) -> Tensor:
    """Compute the filters that whiten patches.

    Args:
        covariance_PP: Their covariance, float64, symmetric.

    Returns:
        [2P, P], a filter per row: v/√(λ + 5e-4) for each eigenvector v, by falling eigenvalue λ,
        equal ones in the order found; then their negatives. The largest entry of v (the first, if
        several are equal) is positive.
    """
    values_P, vectors_PP = torch.linalg.eigh(covariance_PP)
    values_P, order_P = values_P.clamp(min=0).sort(descending=True, stable=True)
    rows_PP = vectors_PP.T[order_P]
    sizes_PP = rows_PP.abs()
    largest_PP = sizes_PP >= (1 - _TIE) * sizes_PP.amax(1, keepdim=True)
    first_P1 = largest_PP.int().argmax(1, keepdim=True)  # the first of those that are 1
    half_PP = rows_PP * rows_PP.gather(1, first_P1).sign() / (values_P[:, None] + EPS).sqrt()
    return torch.cat([half_PP, -half_PP])
