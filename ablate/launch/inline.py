"""Trains stacks one after another in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from ablate.errors import DiskFullError
from ablate.launch.executor import StackEnd
from ablate.launch.interruption import Interruption
from ablate.launch.job import Follow, Work, train, unfollowed
from ablate.launch.outcome import Stop, stop_of
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack


@dataclass(frozen=True)
class WorkEnd:
    """The result of some work, from whichever process did it; records say how the runs ended.

    Attributes:
        held: Keys of runs that were skipped because another process holds them.
        stop: Why the whole sweep must stop, or None.
    """

    held: tuple[str, ...] = ()
    stop: Stop | None = None


def work_of(stack: RunStack, threads: int | None, wait: bool = False) -> Work:
    """Describe a planned stack as work for `job.train`."""
    return Work(stack.runs, tuple(r.directory for r in stack.runs), stack.fused, threads, wait)


def finish(work: Work, follow: Follow = unfollowed) -> WorkEnd:
    """Train a stack in the current process."""
    try:
        return WorkEnd(held=tuple(train(work, follow)))
    except (DiskFullError, KeyboardInterrupt) as error:
        return WorkEnd(stop=stop_of(error))


class Inline:
    """Trains in this process.

    Args:
        how: The execution of the plan.
        follow: Makes what follows the steps of a stack.
    """

    name = "inline"

    def __init__(self, how: Execution, follow: Follow = unfollowed) -> None:
        self._how, self._follow = how, follow

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Train stacks; yield each as it ends."""
        held: list[RunStack] = []
        for stack in stacks:
            end = finish(work_of(stack, self._how.threads), self._follow)
            if end.held:
                held.append(stack)
            else:
                yield StackEnd(stack, end.stop)
        yield from wait_for(self._how, held, self._follow)


def wait_for(
    how: Execution, held: Sequence[RunStack], follow: Follow = unfollowed
) -> Generator[StackEnd, None, None]:
    """Wait for stacks that another process holds, then train what it left unfinished."""
    for stack in held:
        yield StackEnd(stack, finish(work_of(stack, how.threads, wait=True), follow).stop)
