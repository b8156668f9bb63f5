"""Trains stacks one after another in this process."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablate.errors import DiskFullError
from ablate.launch.attempt import Follow, Work, unfollowed
from ablate.launch.executor import StackEnd
from ablate.launch.interruption import Interruption
from ablate.launch.job import Job
from ablate.launch.outcome import Stop, stop_of
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack


@dataclass(frozen=True)
class WorkEnd:
    """The result of some work, whichever process did it. Records say how the runs ended.

    Attributes:
        held: Keys of runs that were skipped because another process holds them.
        stop: Why the whole sweep must stop, or None.
        notes: What the user should know, one sentence each.
        lost: Folder -> why its run could not even be recorded.
    """

    held: tuple[str, ...] = ()
    stop: Stop | None = None
    notes: tuple[str, ...] = ()
    lost: Mapping[Path, str] = field(default_factory=dict)

    def of(self, stack: RunStack) -> StackEnd:
        """Return this result as the end of a stack."""
        return StackEnd(stack, self.stop, self.notes, self.lost)

    def then(self, later: WorkEnd) -> WorkEnd:
        """Add what was done afterwards."""
        return WorkEnd(
            self.held + later.held,
            self.stop or later.stop,
            self.notes + later.notes,
            {**self.lost, **later.lost},
        )


def work_of(stack: RunStack, threads: int | None, wait: bool = False) -> Work:
    """Describe a planned stack as work for a `Job`."""
    return Work(stack.runs, tuple(r.directory for r in stack.runs), stack.fused, threads, wait)


def finish(work: Work, follow: Follow = unfollowed) -> WorkEnd:
    """Train a stack in the current process."""
    job, stop = Job(work, follow), None
    try:
        job.train()
    except (DiskFullError, KeyboardInterrupt) as error:
        stop = stop_of(error)
    return WorkEnd(tuple(job.held), stop, tuple(job.notes), job.lost)


class Inline:
    """Trains in this process.

    Args:
        how: The execution of the plan.
        follow: Makes what follows the steps of a stack.
    """

    name = "inline"

    def __init__(self, how: Execution, follow: Follow = unfollowed) -> None:
        self._how, self._follow = how, follow

    def check(self, stacks: Sequence[RunStack]) -> None:
        """Any stack can be trained here."""

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Train stacks; yield each as it ends."""
        held: list[tuple[RunStack, WorkEnd]] = []
        for stack in stacks:
            if stop.enough:
                return
            end = finish(work_of(stack, self._how.threads), self._follow)
            if end.held and end.stop is None:
                held.append((stack, end))
            else:
                yield end.of(stack)
        yield from wait_for(self._how, held, stop, self._follow)


def wait_for(
    how: Execution,
    held: Sequence[tuple[RunStack, WorkEnd]],
    stop: Interruption,
    follow: Follow = unfollowed,
) -> Generator[StackEnd, None, None]:
    """Wait for stacks that another process holds, then train what it left unfinished.

    Args:
        how: The execution of the plan.
        held: The stacks, and what was done on each.
        stop: As for `Executor.execute`.
        follow: Makes what follows the steps of a stack.
    """
    for stack, before in held:
        if stop.enough:
            return
        yield before.then(finish(work_of(stack, how.threads, wait=True), follow)).of(stack)
