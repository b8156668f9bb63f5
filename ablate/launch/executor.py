"""What an executor is, and which there are.

To add one: a file with a class like `Executor`, made from the plan's `Execution`, and a line in
`config.knobs.run.EXECUTORS`, from which the knob `launch` takes its words. `inline.finish` trains a
stack in whatever process it is called. It sets what belongs to the whole process (threads of torch,
log handlers, handlers of signals), so an executor gives each stack a process of its own, or trains
in the main thread; a process is asked to stop by SIGTERM.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Protocol

from ablate.config.knobs.run import EXECUTORS
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import Stop
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack


@dataclass(frozen=True)
class StackEnd:
    """A stack that needs no more of its executor.

    Attributes:
        stack: The stack; how its runs ended is in their records.
        stop: What ends the whole sweep with it, or None.
    """

    stack: RunStack
    stop: Stop | None = None


class Executor(Protocol):
    """Trains stacks.

    Attributes:
        name: As the knob `launch` has it.
    """

    name: str

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Train stacks; yield each as it ends. Those held by another process come last.

        Args:
            stacks: Those with a run that has not ended.
            stop: Tells whether a stop was asked for; then what is under way is left in a state
                that it goes on from. Closing the iterator asks for the same.
        """
        ...


def executor(how: Execution) -> Executor:
    """Make the executor of a plan; its file is imported now, and not before."""
    made: Executor = resolve_name(EXECUTORS[how.launch])(how)
    return made
