"""A sweep: from planned runs to ended ones, through an executor, with nothing lost on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate import record
from ablate.errors import DiskFullError
from ablate.launch.interruption import Interruption
from ablate.plan.run import Run
from ablate.plan.stacks import Stack, group


@dataclass(frozen=True)
class Execution:
    """How a sweep is executed; it follows from the plan alone.

    Attributes:
        launch: ``inline``, ``workers`` or ``slurm``.
        workers: How many processes work at once.
        threads: Threads of torch in each; None leaves torch's own number.
    """

    launch: str
    workers: int
    threads: int | None


def plan(runs: Sequence[Run]) -> list[Stack]:
    """Group runs into stacks that fit the device they are for."""
    if not runs or runs[0].config["device"] != "cuda":
        return group(runs)
    import torch

    return group(runs, torch.cuda.get_device_properties(0).total_memory)


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execution(stacks: Sequence[Stack]) -> Execution:
    """Decide who trains: by the device, the number of stacks and the number of cores."""
    config = stacks[0].runs[0].config
    launch, device = config["launch"], config["device"]
    if launch == "slurm":
        return Execution("slurm", len(stacks), None)
    if device == "cuda":
        import torch

        count = min(torch.cuda.device_count(), len(stacks))
        return Execution("inline" if count == 1 or launch == "inline" else "workers", count, None)
    workers = min(cores(), len(stacks))
    if launch == "inline" or (launch == "auto" and workers == 1):
        return Execution("inline", 1, None)
    return Execution("workers", workers, max(1, cores() // workers))


def execute(runs: Sequence[Run], before: Callable[[Run], None]) -> None:
    """Bring all runs to their end; how each ended is in its record.

    Args:
        runs: All runs of the request, finished ones included, so that stacks are as planned.
        before: Called for each run that is going to be trained, once, before any is.

    Raises:
        KeyboardInterrupt: A stop was asked for.
        DiskFullError: The disk is full; what is recorded stays, and the sweep can go on later.
    """
    stacks = plan(runs)
    todo = [stack for stack in stacks if not all(_has_ended(run) for run in stack.runs)]
    if not todo:
        return
    for stack in todo:
        for run in stack.runs:
            if not _has_ended(run):
                before(run)
    from ablate.launch.progress import SweepProgress

    how = execution(stacks)
    with Interruption() as stop, SweepProgress(stacks, todo) as progress:
        for stack, error in _outcomes(how, todo, stop):
            progress.ended(stack)
            if error is not None:
                raise DiskFullError(error)
            if stack.runs[0].config["fail_fast"] and _went_wrong(stack) and not stop.asked:
                print("stopped at the first failure (fail_fast=true)", file=sys.stderr)
                break
    if stop.asked:
        raise KeyboardInterrupt


def _outcomes(
    how: Execution, stacks: Sequence[Stack], stop: Interruption
) -> Iterator[tuple[Stack, str | None]]:
    """Let an executor train stacks; yield each as it ends, with what ends the whole sweep."""
    if how.launch == "workers":
        from ablate.launch.workers import outcomes
    elif how.launch == "slurm":
        from ablate.launch.slurm import outcomes
    else:
        from ablate.launch.inline import outcomes
    return outcomes(how, stacks, stop)


def _has_ended(run: Run) -> bool:
    old = record.read(run.directory)
    return old is not None and record.has_ended(old, run.config["rerun"])


def _went_wrong(stack: Stack) -> bool:
    ends = [record.read(run.directory) for run in stack.runs]
    return any(end is not None and end["status"] in ("failed", "diverged") for end in ends)


def directories(stack: Stack) -> tuple[Path, ...]:
    """List the folders of a stack's runs."""
    return tuple(run.directory for run in stack.runs)
