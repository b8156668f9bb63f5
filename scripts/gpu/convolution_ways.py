"""Ways to convolve the images of R runs with the kernels of R runs, to be measured per shape.

All take images x_RBHWC and kernels w_RKKCO (K odd, stride 1, padded to the same size) and return
y_RBHWO; each chooses its own layout in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Convolution = Callable[[Tensor, Tensor], Tensor]


def grouped(x_RBHWC: Tensor, w_RKKCO: Tensor, layout: torch.memory_format) -> Tensor:
    """Convolve in R groups of channels, as torch's vmap does."""
    runs, batch, height, width, channels = x_RBHWC.shape
    out = w_RKKCO.shape[-1]
    x = x_RBHWC.permute(1, 0, 4, 2, 3).reshape(batch, runs * channels, height, width)
    w = w_RKKCO.permute(0, 4, 3, 1, 2).reshape(runs * out, channels, *w_RKKCO.shape[1:3])
    x, w = x.contiguous(memory_format=layout), w.contiguous(memory_format=layout)
    y = F.conv2d(x, w, padding="same", groups=runs)
    return y.view(batch, runs, out, height, width).permute(1, 0, 3, 4, 2)


def multiplied(x_RBHWC: Tensor, w_RKKCO: Tensor) -> Tensor:
    """Write out each pixel's patch, and multiply the matrices run by run."""
    runs, batch, height, width, _ = x_RBHWC.shape
    size, reach = w_RKKCO.shape[1], w_RKKCO.shape[1] // 2
    padded = F.pad(x_RBHWC, (0, 0, reach, reach, reach, reach))
    patches = [
        padded[:, :, i : i + height, j : j + width] for i in range(size) for j in range(size)
    ]
    patch_RMK = torch.cat(patches, -1).view(runs, batch * height * width, -1)
    y_RMO = patch_RMK @ w_RKKCO.flatten(1, 3)
    return y_RMO.view(runs, batch, height, width, -1)


class Written(torch.autograd.Function):
    """Our own kernel in Triton, with the run in its grid; patches are never written out."""

    @staticmethod
    def forward(ctx: Any, x_RBHWC: Tensor, w_RKKCO: Tensor) -> Tensor:
        from gpu.convolution_kernels import convolved

        ctx.save_for_backward(x_RBHWC, w_RKKCO)
        return convolved(x_RBHWC, w_RKKCO)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        from gpu.convolution_kernels import convolved, kernel_gradient

        x_RBHWC, w_RKKCO = ctx.saved_tensors
        dy_RBHWO = gradients[0].contiguous()
        turned = w_RKKCO.flip(1, 2).transpose(-1, -2).contiguous()
        dx = convolved(dy_RBHWO, turned) if ctx.needs_input_grad[0] else None
        return dx, kernel_gradient(x_RBHWC, dy_RBHWO, w_RKKCO.shape[1])


def triton_kernel(x_RBHWC: Tensor, w_RKKCO: Tensor) -> Tensor:
    """Convolve by the kernel in Triton."""
    y: Tensor = Written.apply(x_RBHWC.contiguous(), w_RKKCO.contiguous())
    return y


WAYS: dict[str, Convolution] = {
    "grouped NCHW": lambda x, w: grouped(x, w, torch.contiguous_format),
    "grouped channels_last": lambda x, w: grouped(x, w, torch.channels_last),
    "patches and bmm": multiplied,
    "Triton": triton_kernel,
}
