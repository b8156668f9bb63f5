"""From a plan to its outcome: all training starts and ends here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext

from ablate import record
from ablate.launch.executor import executor
from ablate.launch.hydra_files import leave_hydra_files
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import ASKED, FIRST_FAILURE, Outcome, Stop, failed, stops
from ablate.launch.snapshot import keep_code
from ablate.plan.planning import Plan
from ablate.plan.stacks import RunStack


def execute(plan: Plan) -> Outcome:
    """Train the runs of a plan that have not ended; each run's record says how it ended.

    A run that fails or diverges is recorded, and the others go on. The whole plan stops at a
    requested stop, at a full disk and, with `fail_fast`, at the first failure. Records are kept,
    and executing the same plan again continues from there.
    """
    with stops() as caught:
        if (todo := plan.left) and (stop := _train(plan, todo)) is not None:
            caught.append(stop)
    return outcome_of(plan, caught[0] if caught else None)


def outcome_of(plan: Plan, stop: Stop | None) -> Outcome:
    """Read how the runs of a plan stand; those that had ended before are not read again."""
    standings = {
        run.directory: plan.there[run.directory]
        if plan.has_ended(run)
        else record.standing(run.directory)
        for run in plan.runs
    }
    return Outcome(tuple(plan.runs), standings, stop)


def _train(plan: Plan, todo: Sequence[RunStack]) -> Stop | None:
    """Let an executor train stacks; return what stopped it."""
    from ablate.launch.inline import Inline  # loads torch, which a finished sweep does not need
    from ablate.launch.progress import Progress, SweepProgress

    assert plan.execution is not None, "a plan with stacks has an execution"
    for note in keep_code([run for stack in todo for run in stack.runs]):
        print(f"ablate: note: {note}", file=sys.stderr)
    leave_hydra_files(plan)
    single = plan.request.is_single
    chosen = Inline(plan.execution, Progress) if single else executor(plan.execution)
    with (
        Interruption() as asked,
        nullcontext() if single else SweepProgress(plan.stacks, todo) as progress,
        closing(chosen.execute(todo, asked)) as ends,
    ):
        for end in ends:
            if progress is not None:
                progress.ended(end.stack)
            if end.stop is not None:
                return end.stop
            if asked.asked:
                break
            if end.stack.runs[0].config["fail_fast"] and _went_wrong(end.stack):
                return FIRST_FAILURE
    return ASKED if asked.asked else None


def _went_wrong(stack: RunStack) -> bool:
    return failed([record.standing(run.directory) for run in stack.runs])
