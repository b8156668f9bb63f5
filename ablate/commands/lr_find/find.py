"""Runs the range test on the runs of a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tqdm import tqdm

from ablate.commands.asking import Asked, named_stacks
from ablate.measure.lr_curves import curves
from ablate.measure.lr_range import Curve
from ablate.plan.execution import stacks_of
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack
from ablate.train.memory import keep_freed_memory


def find(asked: Asked) -> list[Curve]:
    """Run the range test; return a curve for each run, in the order of the request."""
    keep_freed_memory()
    of_name: dict[str, Curve] = {}
    total = asked.settings["steps"] * len(asked.runs)
    # An upper bound: a sweep may end early, and the runs of a stack share their steps.
    with tqdm(total=total, desc="lr-find", unit=" steps", disable=None, leave=False) as bar:
        for stack, names in _stacks(asked):
            for curve in curves(stack, names, asked.settings, bar.update):
                of_name[curve.name] = curve
    return [of_name[name] for name in asked.names]


def _stacks(asked: Asked) -> Iterator[tuple[RunStack, list[str]]]:
    """Group the runs of a sweep into stacks; in a grid, each run has a stack of its own."""
    if asked.settings["mode"] == "sweep":
        yield from named_stacks(asked)
        return
    for run, name in zip(asked.runs, asked.names, strict=True):
        yield replace(_of_copies(run, asked.settings["points"]), runs=(run,)), [name]


def _of_copies(run: Run, count: int) -> RunStack:
    return stacks_of([replace(run, key=f"{run.key}-{number}") for number in range(count)])[0]
