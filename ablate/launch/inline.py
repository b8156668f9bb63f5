"""Trains stacks one after another in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ablate.errors import DiskFullError
from ablate.launch.interruption import Interruption
from ablate.launch.job import Work, train
from ablate.plan.stacks import Stack

if TYPE_CHECKING:
    from ablate.launch.execute import Execution


def work_of(stack: Stack, threads: int | None, wait: bool = False) -> Work:
    """Turn a planned stack into work."""
    return Work(stack.runs, tuple(r.directory for r in stack.runs), stack.fused, threads, wait)


def finish(work: Work) -> tuple[str, ...] | str | None:
    """Train a stack, in whatever process this is.

    Returns:
        Keys of runs that another process holds; or, as text, what ends the whole sweep; or None if
        a stop was asked for.
    """
    try:
        return tuple(train(work))
    except DiskFullError as error:
        return error.faults[0]
    except KeyboardInterrupt:
        return None


def outcomes(
    how: Execution, stacks: Sequence[Stack], stop: Interruption
) -> Iterator[tuple[Stack, str | None]]:
    """Train stacks; yield each as it ends. Those held by another process come last."""
    held: list[Stack] = []
    for stack in stacks:
        end = finish(work_of(stack, how.threads))
        if end is None:
            stop.asked = True
        if isinstance(end, tuple) and end:
            held.append(stack)
            continue
        yield stack, end if isinstance(end, str) else None
    yield from wait_for(how, held, stop)


def wait_for(
    how: Execution, held: Sequence[Stack], stop: Interruption
) -> Iterator[tuple[Stack, str | None]]:
    """Wait for stacks that another process holds, and train what it left."""
    for stack in held:
        end = finish(work_of(stack, how.threads, wait=True))
        if end is None:
            stop.asked = True
        yield stack, end if isinstance(end, str) else None
