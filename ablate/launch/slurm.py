"""Trains stacks as jobs of a SLURM cluster, with submitit; `slurm.cluster=local` tries it here.

Jobs write the same records into the same folders, on a file system that the cluster shares. So if
the launcher dies, the same command takes up the sweep again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Sequence
from typing import Any

from ablate.errors import AblateError
from ablate.launch.describe import note_accident, record_failure
from ablate.launch.executor import StackEnd
from ablate.launch.inline import WorkEnd, finish, wait_for, work_of
from ablate.launch.interruption import Interruption
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack

_POLL = {"slurm": 5.0, "local": 0.2}  # seconds between two looks at the queue


def executor(stack: RunStack, launch: str = "") -> Any:
    """Make submitit's executor for a stack, with the resources that its knobs ask for.

    Args:
        stack: The stack.
        launch: A name for this launch that nobody could guess. Jobs answer by pickles, which can
            run anything: they are read from a folder of that name, which nobody else prepared.

    Raises:
        AblateError: submitit is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise AblateError(
            "launch=slurm needs submitit: pip install 'ablate-runner[slurm]'"
        ) from error
    config = stack.runs[0].config
    slurm = config["slurm"]
    folder = stack.runs[0].sweep / ".slurm" / launch
    made = submitit.AutoExecutor(folder=folder, cluster=slurm["cluster"])
    parameters: dict[str, Any] = {
        "name": str(config["name"]),
        "timeout_min": slurm["minutes"],
        "cpus_per_task": slurm["cpus"],
        "mem_gb": slurm["memory"],
    }
    if slurm["gpus"] and slurm["cluster"] == "slurm":
        parameters["gpus_per_node"] = slurm["gpus"]
    if slurm["partition"] is not None and slurm["cluster"] == "slurm":
        parameters["slurm_partition"] = slurm["partition"]
    made.update_parameters(**parameters)
    return made


class Slurm:
    """Trains each stack as a job of a cluster.

    Args:
        how: The execution of the plan.
    """

    name = "slurm"

    def __init__(self, how: Execution) -> None:
        self._how, self._launch = how, secrets.token_hex(8)

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Submit all stacks; yield each as its job ends. Those held elsewhere come last."""
        slurm = stacks[0].runs[0].config["slurm"]
        jobs = [(self._submitted(stack), stack) for stack in stacks]
        held: list[tuple[RunStack, WorkEnd]] = []
        try:
            while jobs and not stop.asked:
                if stop.enough:
                    jobs = _without_waiting(jobs)
                ended = [pair for pair in jobs if pair[0].done()]
                for job, stack in ended:
                    jobs.remove((job, stack))
                    end = _result(job, stack)
                    if end is None:
                        jobs.append((self._submitted(stack), stack))
                    elif end.held and end.stop is None:
                        held.append((stack, end))
                    else:
                        yield end.of(stack)
                if not ended:
                    time.sleep(_POLL[slurm["cluster"]])
        finally:
            for job, _ in jobs:
                job.cancel()
        if not stop.asked:
            yield from wait_for(self._how, held, stop)

    def _submitted(self, stack: RunStack) -> Any:
        cpus = stack.runs[0].config["slurm"]["cpus"]
        return executor(stack, self._launch).submit(finish, work_of(stack, cpus))


def _without_waiting(jobs: list[tuple[Any, RunStack]]) -> list[tuple[Any, RunStack]]:
    """Cancel jobs that wait in the queue; return the others."""
    waiting = [pair for pair in jobs if str(pair[0].state).upper() == "PENDING"]
    for job, _ in waiting:
        job.cancel()
    return [pair for pair in jobs if pair not in waiting]


def _result(job: Any, stack: RunStack) -> WorkEnd | None:
    """Read a job's result; None if the job was lost and is to be tried again."""
    try:
        end: WorkEnd = job.result()
        return end
    # submitit raises several kinds of error for a job that failed, timed out or vanished.
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        reason = f"its job {job.job_id} ended without a result: {first}"
        is_accident = type(error).__name__ != "FailedJobError"  # which reports an error of code
    again, lost = False, {}
    for run in stack.runs:
        try:
            if is_accident:
                again |= note_accident(run, run.directory, reason)
            else:
                record_failure(run, run.directory, reason)
        except (OSError, AblateError) as error:
            lost[run.directory] = f"{reason}, and its record: {error}"
    return None if again else WorkEnd(lost=lost)
