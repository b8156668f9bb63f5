"""Part step: a step against the stack's width, ways to convolve by shape, memory a run."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor

from ablate.data import load
from ablate.nets.shapes import training_bytes
from gpu.convolutions import WAYS, Convolution
from gpu.tools import Bench, least_bytes, worst

# So many epochs that no step is timed beyond the last one.
_NETWORK = ("data=mnist", "dropout.dense=0.5", "batch_size=128", "epochs=1000")
_SOUND = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # relative error of a way that may win
_WIDTHS = (1, 2, 4, 8, 16, 32, 64)
_KINDS = (  # precision, recorded as a graph, compiled
    *(("fp32", False, False), ("fp32", True, False), ("fp32", True, True)),
    *(("bf16", False, False), ("bf16", True, False), ("bf16", True, True)),
)
# Runs, batch, side, channels, output channels: the layers of the MNIST network, and of CIFAR's.
_SHAPES = (
    *((32, 128, 28, 1, 32), (32, 128, 14, 32, 64), (8, 128, 28, 1, 32), (8, 128, 14, 32, 64)),
    *((16, 128, 32, 24, 64), (16, 128, 16, 64, 256), (16, 128, 8, 256, 256)),
)


def run(bench: Bench) -> bool:
    """Measure it all."""
    rate = bench.copy_rate()
    bench.note("copy rate, bytes a second", rate)
    bench.say(f"copy: {rate / 1e9:,.0f} GB/s, read and written\n")
    widths(bench, rate)
    convolutions(bench)
    return True


def widths(bench: Bench, rate: float) -> None:
    """Time steps of the MNIST network by width, and by how they are launched."""
    bench.say("conv 32, conv 64, dense 128 on MNIST, batch 128: milliseconds a step of the stack,")
    bench.say("ms a run's step / times the floor / MiB a run at peak (share of what is planned)")
    for precision, graph, compiled in _KINDS[: 2 if bench.small else None]:
        if bench.device == "cpu" and graph and not compiled:
            continue
        bench.say(f"\n{precision}, {'one graph' if graph else 'single launches'}"
                  f"{', compiled' if compiled else ''}")  # fmt: skip
        for width in _WIDTHS[: 2 if bench.small else None]:
            try:
                found = _step(bench, width, precision, graph, compiled, rate)
            except torch.OutOfMemoryError:
                bench.say(f"  {width:3d} runs: out of memory")
                break
            bench.note(f"step, {precision}, graph {graph}, compiled {compiled}, {width}", found)
            bench.say(
                f"  {width:3d} runs {found['ms']:9.3f}   {found['ms'] / width:8.3f} /"
                f" {found['floors']:5.2f} / {found['MiB a run']:6.1f} ({found['of plan']:.2f})"
            )


def _step(
    bench: Bench, width: int, precision: str, graph: bool, compiled: bool, rate: float
) -> dict[str, float]:
    few = ("data.train_size=300", "batch_size=32") if bench.small else ()
    runs = bench.runs(width, *_NETWORK, *few, f"precision={precision}")
    how = {"compile": compiled, "capture": graph}
    runs = [run | {"stack": run["stack"] | how} for run in runs]
    data = load(runs[0])
    held = _peak(bench, start=True)
    training = bench.training(runs, fused=width > 1 or compiled)
    ms = bench.milliseconds(training.launch, 1.0)
    assert training.captured == (graph and bench.device == "cuda"), "it is timed as it is labelled"
    run = runs[0]
    floor = width * least_bytes(run, data, 2 if precision == "bf16" else 4) / rate
    memory = (_peak(bench) - held) / width
    planned = training_bytes(run["model"], data.shape, data.classes, run["batch_size"])
    return {
        "ms": ms,
        "floors": ms / 1000 / floor,
        "MiB a run": memory / 2**20,
        "of plan": memory / planned,
    }


def _peak(bench: Bench, start: bool = False) -> int:
    if bench.device == "cpu":
        return 0
    if start:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return torch.cuda.max_memory_reserved()


# -- ways to convolve ------------------------------------------------------------------------------


def convolutions(bench: Bench) -> None:
    """Time each way to convolve, forward and back, and tell which wins where."""
    bench.say("\nconvolution 3 x 3 of all runs, forward and back: milliseconds (error)")
    shapes = [(2, 2, 6, 3, 4)] if bench.small else _SHAPES
    for dtype in (torch.float32, torch.bfloat16):
        for shape in shapes:
            found: dict[str, Any] = {}
            exact = _through(WAYS["grouped NCHW"], *_tensors(bench, shape, torch.float64))
            for name, way in WAYS.items():
                if bench.device == "cpu" and name == "Triton":
                    continue
                try:
                    found[name] = _way(bench, way, shape, dtype, exact)
                except Exception as error:  # a kernel may not suit a GPU: told, not hidden
                    found[name] = {"error": str(error).split("\n")[0]}
            bench.note(f"convolution {dtype} {shape}", found)
            sound = {n: f for n, f in found.items() if f.get("off", 1) < _SOUND[dtype]}
            best = min(sound, key=lambda name: sound[name]["ms"], default="")
            runs, batch, side, channels, out = shape
            bench.say(
                f"  {dtype}: {runs} runs, {batch} images {side} x {side} x {channels}, to {out}"
            )
            for name, figures in found.items():
                told = (
                    f"{figures['ms']:9.3f} ({figures['off']:.0e})"
                    if "ms" in figures
                    else f"  {figures['error'][:60]}"
                )
                bench.say(f"    {name:24s} {told}{'   best' if name == best else ''}")


def _tensors(
    bench: Bench, shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
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


def _way(
    bench: Bench,
    way: Convolution,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    exact: tuple[Tensor, ...],
) -> dict[str, float]:
    x, w, dy = _tensors(bench, shape, dtype)
    found = _through(way, x, w, dy)
    off = worst([(a.double() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)])
    return {"ms": bench.milliseconds(lambda: _through(way, x, w, dy)), "off": off}
