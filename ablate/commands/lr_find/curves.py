"""`ablate lr-find`: the range test on the runs of a request; nothing is recorded as a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ablate.commands.asking import Asked
from ablate.commands.lr_find.request import tested
from ablate.data.tensors import Tensors
from ablate.launch.describe import load
from ablate.measure.lr_range import Curve, Numbers, Step, grid, rising, smooth, sweep
from ablate.plan.execution import stacks_of
from ablate.plan.run import Run
from ablate.plan.stacks import Stack
from ablate.train.memory import keep_freed_memory
from ablate.train.training import Training


def find(asked: Asked) -> list[Curve]:
    """Run the range test of a request; give a curve a run, in the order of the request."""
    keep_freed_memory()
    of_name: dict[str, Curve] = {}
    with _progress(asked) as bar:
        for stack, names in _together(asked):
            for curve in _curves(stack, names, asked.settings, bar):
                of_name[curve.name] = curve
    return [of_name[name] for name in asked.names]


def _together(asked: Asked) -> Iterator[tuple[Stack, list[str]]]:
    """Group the runs of a sweep into stacks; in a grid each run is a stack of its own rates."""
    called = {id(run): name for run, name in zip(asked.runs, asked.names, strict=True)}
    if asked.settings["mode"] == "sweep":
        stacks = stacks_of(asked.runs)
    else:
        count = asked.settings["points"]
        stacks = [replace(_grid_stack(run, count), runs=(run,)) for run in asked.runs]
    for stack in stacks:
        yield stack, [called[id(run)] for run in stack.runs]


def _grid_stack(run: Run, count: int) -> Stack:
    copies = [replace(run, key=f"{run.key}-{number}") for number in range(count)]
    return stacks_of(copies)[0]


def _curves(
    stack: Stack, names: Sequence[str], settings: Mapping[str, Any], bar: Any
) -> list[Curve]:
    tensors = load(stack.runs[0].config)
    steps = settings["steps"]
    epoch_steps = len(tensors.train) // stack.runs[0].config["batch_size"]
    configs = [tested(run, -(-steps // epoch_steps)).config for run in stack.runs]
    low, high = settings["low"], settings["high"]
    if settings["mode"] == "grid":
        lr_R = rising(low, high, settings["points"])
        ends = _grid(configs[0], tensors, stack.fused, lr_R, steps, bar)
        return [grid_curve(names[0], lr_R.numpy(), ends)]
    lr_T = rising(low, high, steps)
    step = _stepper(Training(configs, tensors, fused=stack.fused), bar)
    loss_TR = sweep(step, lr_T, len(configs), settings["smoothing"])
    return [
        sweep_curve(name, lr_T.numpy(), loss_T, settings["smoothing"])
        for name, loss_T in zip(names, loss_TR.T, strict=True)
    ]


def _grid(
    config: Mapping[str, Any], tensors: Tensors, fused: bool, lr_R: Tensor, steps: int, bar: Any
) -> Numbers:
    """Train at all rates as one stack; where memory does not suffice, as two."""
    try:
        training = Training([config] * len(lr_R), tensors, fused=fused and len(lr_R) > 1)
        return grid(_stepper(training, bar), lr_R, steps)[0]
    except torch.OutOfMemoryError:
        if len(lr_R) == 1:
            raise
    torch.cuda.empty_cache()
    halves = lr_R.tensor_split(2)
    return np.concatenate([_grid(config, tensors, fused, h, steps, bar) for h in halves])


def _stepper(training: Training, bar: Any) -> Step:
    def step(number: int, lr_R: Tensor, alive: Sequence[bool]) -> Tensor:
        x_RBCHW, target = training.batches.at(number)
        lr_R = lr_R.to(training.device)
        bar.update()
        return training.update.step(x_RBCHW, target, lr_R, number, alive).loss_R

    return step


@contextmanager
def _progress(asked: Asked) -> Iterator[Any]:
    total = asked.settings["steps"] * len(asked.runs)
    # At most: a sweep ends early, and stacks of several runs have steps in common.
    with tqdm(total=total, desc="lr-find", unit=" steps", disable=None, leave=False) as bar:
        yield bar


def sweep_curve(name: str, lr_N: Numbers, loss_N: Numbers, smoothing: float) -> Curve:
    """Make the curve of a sweep, up to where it ended."""
    seen = int(np.isfinite(loss_N).sum())
    ended = float(lr_N[seen - 1]) if seen < len(lr_N) and seen else None
    return Curve(name, lr_N[:seen], loss_N[:seen], smooth(loss_N[:seen], smoothing), ended)


def grid_curve(name: str, lr_N: Numbers, loss_N: Numbers) -> Curve:
    """Make the curve of a grid."""
    gone = lr_N[np.isnan(loss_N)]
    return Curve(name, lr_N, loss_N, loss_N, float(gone[0]) if len(gone) else None)
