"""Groups a plan's runs into stacks and chooses who trains them.

Both follow from all runs of the plan, never from what is left to train: a resumed sweep then meets
the same stacks, and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablate import environment
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack, group


@dataclass(frozen=True)
class Execution:
    """How a plan is executed.

    Attributes:
        launch: The executor: ``inline``, ``workers``, or a cluster's.
        workers: Number of processes that train at once.
        threads: Torch threads in each process; None keeps torch's default.
    """

    launch: str
    workers: int
    threads: int | None


def stacks_of(runs: Sequence[Run]) -> list[RunStack]:
    """Group runs into stacks that fit their device, which is already settled."""
    on_a_gpu = bool(runs) and runs[0].config["device"] == "cuda"
    return group(runs, environment.cuda().memory if on_a_gpu else None)


def execution(stacks: Sequence[RunStack]) -> Execution:
    """Decide who trains: by the device, the number of stacks and the number of cores."""
    config = stacks[0].runs[0].config
    launch = config["launch"]
    if launch not in ("auto", "inline", "workers"):
        return Execution(launch, len(stacks), None)
    if config["device"] == "cuda":
        count = min(environment.cuda().count, len(stacks))
        return Execution("inline" if count == 1 or launch == "inline" else "workers", count, None)
    workers = min(environment.cores(), len(stacks))
    if launch == "inline" or (launch == "auto" and workers == 1):
        return Execution("inline", 1, None)
    return Execution("workers", workers, max(1, environment.cores() // workers))
