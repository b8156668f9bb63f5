"""The convolution of all shipped networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """A convolution of [B, C, H, W]; if 1 × 1 with a stride, it first takes every stride-th pixel.

    The sums are the same, but torch's own way is not safe on a CPU without AVX-512: with fewer than
    eight input channels and channels last in memory, oneDNN 3.12 writes a wrong gradient of such a
    kernel, or writes outside of it (torch 2.14; tests/nets/test_convolution.py tries other cases).
    """

    def _conv_forward(
        self,
        input: Tensor,  # noqa: A002  as torch names it
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        if self.kernel_size != (1, 1) or self.stride == (1, 1):
            whole: Tensor = super()._conv_forward(input, weight, bias)
            return whole
        assert not isinstance(self.padding, str), "torch allows words only without a stride"
        (down, right), (rows, columns) = self.stride, self.padding
        framed = F.pad(input, (columns, columns, rows, rows)) if rows or columns else input
        return F.conv2d(framed[..., ::down, ::right], weight, bias, groups=self.groups)
