"""The protocol of executors, and how a plan finds its executor.

To add one, write a file with a class like `Executor`, made from the plan's `Execution`, and add a
line to `config.knobs.run.EXECUTORS`, whose names are the legal values of the knob `launch`.

`inline.finish` trains a stack in the process that calls it. It changes settings of the whole
process (torch's threads, log handlers, signal handlers). So an executor trains each stack in a
process of its own, or in the main thread. A process is asked to stop by SIGTERM.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from ablate.config.knobs.run import EXECUTORS
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import Stop
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack


@dataclass(frozen=True)
class StackEnd:
    """The end of a stack's training.

    Attributes:
        stack: The stack; its runs' records say how they ended.
        stop: Why the whole sweep must stop here, or None.
        notes: What the user should know, one sentence each.
        lost: Folder -> why its run could not even be recorded.
    """

    stack: RunStack
    stop: Stop | None = None
    notes: tuple[str, ...] = ()
    lost: Mapping[Path, str] = field(default_factory=dict)


class Executor(Protocol):
    """Trains stacks.

    Attributes:
        name: The value of the knob `launch` that selects it.
    """

    name: str

    def check(self, stacks: Sequence[RunStack]) -> None:
        """Refuse stacks that cannot be trained this way; nothing has been written yet.

        Args:
            stacks: As for `execute`.

        Raises:
            AblateError: It says what to do.
        """
        ...

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Train stacks; yield each as it ends.

        Those held by another process come last.

        Args:
            stacks: Stacks with a run that has not ended.
            stop: Says whether a stop was requested. Then running stacks save their states, to be
                resumed later. Closing the iterator has the same effect. If it says `enough`, no
                further stack is started, and running ones are waited for.
        """
        ...


def executor(how: Execution) -> Executor:
    """Make the executor of a plan, importing its module only now."""
    made: Executor = resolve_name(EXECUTORS[how.launch])(how)
    return made
