"""Groups a plan's runs into stacks and chooses who trains them.

Both depend on all runs of the plan, never on what is left to train, so that a resumed sweep has the
same stacks and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablate import environment
from ablate.config import schema
from ablate.config.knobs.run import CLUSTERS
from ablate.errors import AblateError
from ablate.plan.notebook import is_in_a_notebook
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack, group


@dataclass(frozen=True)
class Execution:
    """How a plan is executed.

    Attributes:
        launch: The executor: ``inline``, ``workers``, or a cluster's.
        workers: Number of processes that train at once.
        threads: Torch threads in each process; None keeps torch's default.
        runs: For a cluster, all runs of the plan: their training is settled together.
    """

    launch: str
    workers: int
    threads: int | None
    runs: tuple[Run, ...] = field(default=(), repr=False)


def stacks_of(runs: Sequence[Run]) -> list[RunStack]:
    """Group runs into stacks that fit their device, which is settled already."""
    on_a_gpu = bool(runs) and runs[0].config["device"] == "cuda"
    return group(runs, environment.cuda().memory if on_a_gpu else None)


def stacks_as_guessed(runs: Sequence[Run]) -> list[RunStack]:
    """Group a cluster's runs as its nodes probably will: with a GPU if one is requested.

    Their devices stay as requested until the first job settles them.
    """
    by_device: dict[str, list[Run]] = {}
    for run in runs:
        by_device.setdefault(_guessed(run.config), []).append(run)
    asked = {(str(run.directory), run.key): run for run in runs}
    return [
        replace(stack, runs=tuple(asked[str(run.directory), run.key] for run in stack.runs))
        for device, members in by_device.items()
        for stack in group([run.on(device) for run in members])
    ]


def _guessed(config: Mapping[str, Any]) -> str:
    asked: str = config["device"]
    gpus = config["slurm"]["gpus"] if config["launch"] == "slurm" else config["ray"]["gpus"]
    if asked == "auto":
        return "cuda" if gpus not in (0, "auto") else "cpu"
    return asked


def execution(stacks: Sequence[RunStack]) -> Execution:
    """Decide who trains, by device, number of stacks and number of cores.

    Raises:
        AblateError: Other processes should train a notebook's class, which only this one has.
    """
    config = stacks[0].runs[0].config
    launch = config["launch"]
    if (own := _of_a_notebook(stacks)) is not None:
        if launch not in ("auto", "inline"):
            raise AblateError(
                f"launch={launch}: {own} is defined in this notebook, so no other process has it:"
                " leave launch out, or move it into a file (mynets.py) and name that: mynets.Net"
            )
        return Execution("inline", 1, None)
    if launch in CLUSTERS:
        return Execution(launch, len(stacks), None, tuple(r for s in stacks for r in s.runs))
    if config["device"] == "cuda":
        count = min(environment.cuda().count, len(stacks))
        return Execution("inline" if count == 1 or launch == "inline" else "workers", count, None)
    workers = min(environment.cores(), len(stacks))
    if launch == "inline" or (launch == "auto" and workers == 1):
        return Execution("inline", 1, None)
    return Execution("workers", workers, max(1, environment.cores() // workers))


def _of_a_notebook(stacks: Sequence[RunStack]) -> str | None:
    """Find a class or function defined in a notebook; all runs of a stack share it."""
    named = (schema.targets(stack.runs[0].config).values() for stack in stacks)
    return next((t for some in named for t in some if is_in_a_notebook(t)), None)
