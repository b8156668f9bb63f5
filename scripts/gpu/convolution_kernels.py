"""Convolution with a kernel per run, in Triton: a matrix product over patches never written out."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_SPLITS = 8  # parts of the pixels with separate sums of gradients, to get enough programs


@triton.jit  # type: ignore[untyped-decorator]
def _patch(x, r, m, k, B, H, W, C, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """Load entries k of the patches around pixels m of run r; outside of the image is 0."""
    c, j, i = k % C, (k // C) % K, k // (C * K)
    column, row, image = m % W, (m // W) % H, m // (W * H)
    h = row[:, None] + i[None, :] - K // 2
    w = column[:, None] + j[None, :] - K // 2
    inside = (h >= 0) & (h < H) & (w >= 0) & (w < W)
    inside &= (m < B * H * W)[:, None] & (k < K * K * C)[None, :]
    place = (((r * B + image[:, None]).to(tl.int64) * H + h) * W + w) * C + c[None, :]
    return tl.load(x + place, mask=inside, other=0)


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    x, w, y, B, H, W, C, N, K: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, BO: tl.constexpr
):
    r = tl.program_id(2)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    o = tl.program_id(1) * BO + tl.arange(0, BO)
    total = tl.zeros((BM, BO), tl.float32)
    for start in range(0, K * K * C, BK):
        k = start + tl.arange(0, BK)
        patch = _patch(x, r, m, k, B, H, W, C, K)
        inside = (k < K * K * C)[:, None] & (o < N)[None, :]
        kernel = tl.load(w + (r * K * K * C + k[:, None]) * N + o[None, :], mask=inside, other=0)
        total += tl.dot(patch, kernel, input_precision="ieee")
    inside = (m < B * H * W)[:, None] & (o < N)[None, :]
    place = (r * B * H * W + m[:, None]).to(tl.int64) * N + o[None, :]
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel_gradient(  # type: ignore[no-untyped-def]
    x, dy, dw, R, B, H, W, C, N, per, K: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
    BO: tl.constexpr,
):  # fmt: skip
    r, part = tl.program_id(2) % R, tl.program_id(2) // R
    k = tl.program_id(0) * BK + tl.arange(0, BK)
    o = tl.program_id(1) * BO + tl.arange(0, BO)
    total = tl.zeros((BK, BO), tl.float32)
    for start in range(part * per, (part + 1) * per, BM):
        m = start + tl.arange(0, BM)
        m = tl.where(m < (part + 1) * per, m, B * H * W)  # beyond the part is beyond the images
        patch = _patch(x, r, m, k, B, H, W, C, K)
        inside = (m < B * H * W)[:, None] & (o < N)[None, :]
        place = (r * B * H * W + m[:, None]).to(tl.int64) * N + o[None, :]
        total += tl.dot(
            tl.trans(patch), tl.load(dy + place, mask=inside, other=0), input_precision="ieee"
        )
    inside = (k < K * K * C)[:, None] & (o < N)[None, :]
    place = ((part * R + r) * K * K * C + k[:, None]) * N + o[None, :]
    tl.store(dw + place, total, mask=inside)


def convolved(x_RBHWC: Tensor, w_RKKCO: Tensor) -> Tensor:
    """Convolve each run's images with its own kernels; both contiguous."""
    runs, batch, height, width, channels = x_RBHWC.shape
    size, out = w_RKKCO.shape[1], w_RKKCO.shape[-1]
    y = x_RBHWC.new_empty(runs, batch, height, width, out)
    rows, columns, depth = _tiles(out, size * size * channels)
    grid = (triton.cdiv(batch * height * width, rows), triton.cdiv(out, columns), runs)
    _forward[grid](
        *(x_RBHWC, w_RKKCO, y, batch, height, width, channels, out),
        K=size,
        BM=rows,
        BK=depth,
        BO=columns,
    )
    return y


def kernel_gradient(x_RBHWC: Tensor, dy_RBHWO: Tensor, size: int) -> Tensor:
    """Compute the gradient of the kernels, [R, K, K, C, O], in their own type."""
    runs, batch, height, width, channels = x_RBHWC.shape
    out = dy_RBHWO.shape[-1]
    parts = x_RBHWC.new_empty(_SPLITS, runs, size, size, channels, out, dtype=torch.float32)
    rows, columns, depth = _tiles(out, size * size * channels)
    per = triton.cdiv(batch * height * width, _SPLITS)
    grid = (triton.cdiv(size * size * channels, depth), triton.cdiv(out, columns), runs * _SPLITS)
    _kernel_gradient[grid](
        *(x_RBHWC, dy_RBHWO, parts, runs, batch, height, width, channels, out, per),
        K=size,
        BM=rows,
        BK=depth,
        BO=columns,
    )
    return parts.sum(0).to(x_RBHWC.dtype)


def _tiles(out: int, patch: int) -> tuple[int, int, int]:
    """Choose the sizes of a tile: pixels, output channels, entries of a patch."""
    return 64, min(64, max(16, triton.next_power_of_2(out))), 16 if patch <= 16 else 32
