"""Pooling: each 2 × 2 square of a map becomes one number, which halves height and width.

Here it ends each block of a cnn or lenet5 and each stage of a vgg, behind norm and activation and
before dropout. An odd last row or column is left out; a map of height or width 1 stays as it is. A
resnet halves its maps by itself: by strides, and at depth 9 by maxima.

When it helps: nearly every conv net on images. Layers that follow see twice as far and cost a
quarter, and a shift by a pixel changes less. It hurts where the exact place matters, and where maps
are small already: each pooling leaves a quarter of the numbers.
Settings: max, two or three times on images of 28 to 32 pixels. A stride in its place
(`model.pool=none model.stride=2`) keeps the parameters, and saves three quarters of the products.
Source: Scherer, Müller & Behnke 2010, ICANN (max against mean); Springenberg et al. 2015,
arXiv:1412.6806, section 3 (a stride against max).

    max: The largest of the four: whether a pattern is there, wherever it stands. Its gradient goes
        to that one place. Source: Boureau, Ponce & LeCun 2010, ICML (max suits features that are
        seldom on).
    avg: Their mean, which blurs, and gives each of the four a quarter of the gradient. Source:
        LeCun et al. 1998, "Gradient-based learning", section II.B (there scaled and shifted by two
        learned numbers).
    none: No pooling: maps keep their size but for the stride of the convolutions. Source:
        Springenberg et al. 2015, arXiv:1412.6806, section 2.
"""

from __future__ import annotations

from torch import nn

_POOLS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def pool_layer(name: str) -> nn.Module:
    """Make the pooling that ends a block: ``max`` or ``avg``; [B, C, H, W] -> [B, C, H/2, W/2]."""
    return _POOLS[name](2)
