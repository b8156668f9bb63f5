"""Runs the range test: a curve of loss against rate for each run; no run is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablate import data
from ablate.config.course import epoch_steps
from ablate.data.tensors import Tensors
from ablate.measure.lr_range import Curve, Numbers, Step, grid, rising, smooth, sweep
from ablate.measure.lr_tested import tested
from ablate.plan.stacks import RunStack
from ablate.train.training import Training

Tick = Callable[[], object]  # called at each step


def curves(
    stack: RunStack, names: Sequence[str], settings: Mapping[str, Any], tick: Tick
) -> list[Curve]:
    """Test a stack of runs; with ``mode=grid``, a single run at all rates at once.

    Args:
        stack: The runs; with ``mode=grid`` one run, and whether to fuse its copies.
        names: A name for each run.
        settings: The settings of `ablate lr-find`.
        tick: Called at each step.
    """
    tensors = data.load(stack.runs[0].config, stack.runs[0].digest)
    steps = settings["steps"]
    per_epoch = epoch_steps(len(tensors.train), stack.runs[0].config["batch_size"])
    configs = [tested(run, -(-steps // per_epoch)).config for run in stack.runs]
    low, high = settings["low"], settings["high"]
    if settings["mode"] == "grid":
        lr_R = rising(low, high, settings["points"])
        ends = _grid(configs[0], tensors, stack.fused, lr_R, steps, tick)
        return [grid_curve(names[0], lr_R.numpy(), ends)]
    lr_T = rising(low, high, steps)
    step = _stepper(Training(configs, tensors, fused=stack.fused), tick)
    loss_TR = sweep(step, lr_T, len(configs), settings["smoothing"])
    return [
        sweep_curve(name, lr_T.numpy(), loss_T, settings["smoothing"])
        for name, loss_T in zip(names, loss_TR.T, strict=True)
    ]


def sweep_curve(name: str, lr_N: Numbers, loss_N: Numbers, smoothing: float) -> Curve:
    """Make the curve of a sweep, up to the step where it ended."""
    seen = int(np.isfinite(loss_N).sum())
    ended = float(lr_N[seen - 1]) if seen < len(lr_N) and seen else None
    return Curve(name, lr_N[:seen], loss_N[:seen], smooth(loss_N[:seen], smoothing), ended)


def grid_curve(name: str, lr_N: Numbers, loss_N: Numbers) -> Curve:
    """Make the curve of a grid."""
    gone = lr_N[np.isnan(loss_N)]
    return Curve(name, lr_N, loss_N, loss_N, float(gone[0]) if len(gone) else None)


def _grid(
    config: Mapping[str, Any], tensors: Tensors, fused: bool, lr_R: Tensor, steps: int, tick: Tick
) -> Numbers:
    """Train at all rates as one stack; if memory runs out, as two halves."""
    try:
        training = Training([config] * len(lr_R), tensors, fused=fused and len(lr_R) > 1)
        return grid(_stepper(training, tick), lr_R, steps)[0]
    except torch.OutOfMemoryError:
        if len(lr_R) == 1:
            raise
    torch.cuda.empty_cache()
    halves = lr_R.tensor_split(2)
    return np.concatenate([_grid(config, tensors, fused, h, steps, tick) for h in halves])


def _stepper(training: Training, tick: Tick) -> Step:
    def step(number: int, lr_R: Tensor, alive: Sequence[bool]) -> Tensor:
        x_RBCHW, target = training.batches.at(number)
        lr_R = lr_R.to(training.device)
        tick()
        return training.update.step(x_RBCHW, target, lr_R, number, alive).loss_R

    return step
