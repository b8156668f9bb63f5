"""Part convolutions: ways to convolve, by shape and type of number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ablate import environment
from gpu.agreement import worst
from gpu.apart import Figures
from gpu.bench import Bench
from gpu.convolution_ways import WAYS, Convolution
from gpu.jobs import Job

Shape = tuple[int, int, int, int, int]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SOUND = {"fp32": 1e-4, "bf16": 2e-2}  # relative error of a way that may win
# Runs, batch, side, channels, output channels: the layers of the MNIST network, and of CIFAR's.
_SHAPES: tuple[Shape, ...] = (
    *((32, 128, 28, 1, 32), (32, 128, 14, 32, 64), (8, 128, 28, 1, 32), (8, 128, 14, 32, 64)),
    *((16, 128, 32, 24, 64), (16, 128, 16, 64, 256), (16, 128, 8, 256, 256)),
)


def jobs(bench: Bench, all_found: Mapping[str, Figures]) -> Iterator[Job]:
    """List every way for every shape."""
    for precision in _TYPES:
        for shape in ((2, 2, 6, 3, 4),) if bench.dry else _SHAPES:
            for way in WAYS:
                if bench.device == "cuda" or way != "Triton":
                    name = f"{_called(precision, shape)}: {way}"
                    yield Job(name, convolution, (precision, shape, way), 90, ours=way == "Triton")


def convolution(bench: Bench, precision: str, shape: Shape, way: str) -> Figures:
    """Time a way to convolve, forward and back, and measure its error."""
    environment.settle_arithmetic()  # as in ablate
    x, w, dy = _tensors(bench, shape, _TYPES[precision])
    exact = _through(WAYS["grouped NCHW"], *_tensors(bench, shape, torch.float64))
    found = _through(WAYS[way], x, w, dy)
    off = worst([(a.double() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)])
    del exact, found
    ms = bench.milliseconds(lambda: _through(WAYS[way], x, w, dy))
    return {"ms": ms, "off": off, "sound": off < _SOUND[precision]}


def told(name: str, found: Figures, all_found: Mapping[str, Figures]) -> list[str]:
    """Put a way into a line."""
    return [f"  {name:72s} {found['ms']:9.3f} ms ({found['off']:.0e} off)"]


def closing(all_found: Mapping[str, Figures]) -> list[str]:
    """Name the fastest sound way of each shape."""
    best: dict[str, tuple[float, str]] = {}
    for name, found in all_found.items():
        what, _, way = name.partition(": ")
        if found.get("sound"):
            best[what] = min(best.get(what, (found["ms"], way)), (found["ms"], way))
    return ["\nbest", *(f"  {what}: {way}, {ms:.3f} ms" for what, (ms, way) in best.items())]


def _called(precision: str, shape: Shape) -> str:
    runs, batch, side, channels, out = shape
    return f"{precision}, {runs} runs, {batch} images {side} x {side} x {channels}, to {out}"


def _tensors(bench: Bench, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    runs, batch, side, channels, out = shape
    draw = torch.Generator().manual_seed(0)
    sizes = (
        *((runs, batch, side, side, channels), (runs, 3, 3, channels, out)),
        (runs, batch, side, side, out),
    )
    x, w, dy = (torch.randn(s, generator=draw).to(bench.device, dtype) for s in sizes)
    return x.requires_grad_(), (w / 3).detach().requires_grad_(), dy


def _through(way: Convolution, x: Tensor, w: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(way(x, w), [x, w], dy)
