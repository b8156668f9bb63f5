"""Executes a plan: all training starts and ends here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from ablate import record
from ablate.config.knobs.run import CLUSTERS
from ablate.config.trust import note_trained
from ablate.errors import AblateError
from ablate.launch.executor import executor
from ablate.launch.hydra_files import leave_hydra_files
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import (
    ASKED,
    FIRST_FAILURE,
    Outcome,
    Stop,
    failed,
    stops,
    too_many_failures,
)
from ablate.launch.snapshot import keep_code
from ablate.plan.planning import Plan
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack
from ablate.record import Standing


def execute(plan: Plan) -> Outcome:
    """Train the runs of a plan that have not ended; each run's record says how it ended.

    A run that fails or diverges is recorded, and the others go on. The whole plan stops when asked
    to, when the disk is full and, with `fail_fast`, at the first failure; with `max_failed`, no
    further stack starts after too many failures. Records are kept, and executing the same plan
    again continues from there.
    """
    lost: dict[Path, str] = {}
    with stops() as caught:
        if (todo := plan.left) and (stop := _train(plan, todo, lost)) is not None:
            caught.append(stop)
    return outcome_of(plan, caught[0] if caught else None, lost)


def require_executor(plan: Plan) -> None:
    """Refuse a plan that its cluster would refuse, before anything is written.

    Raises:
        AblateError: The plan would be refused; the message says what to do.
    """
    how = plan.execution
    if how is not None and how.launch in CLUSTERS and plan.left:
        executor(how).check(plan.left)


def outcome_of(plan: Plan, stop: Stop | None, lost: Mapping[Path, str] | None = None) -> Outcome:
    """Read how the runs of a plan stand, skipping those that had ended before.

    Args:
        plan: The plan.
        stop: Why it stopped before its end, or None.
        lost: Folder -> why its run could not even be recorded.
    """
    standings = {run.directory: _standing(plan, run) for run in plan.runs}
    return Outcome(tuple(plan.runs), standings, stop, lost=lost or {})


def _standing(plan: Plan, run: Run) -> Standing | None:
    return plan.there[run.directory] if plan.has_ended(run) else standing_of(run)


def standing_of(run: Run) -> Standing | None:
    """Read how a run stands; a run whose record cannot be read has failed."""
    try:
        return record.standing(run.directory)
    except AblateError as error:
        return Standing("failed", error.faults[0])


def _train(plan: Plan, todo: Sequence[RunStack], lost: dict[Path, str]) -> Stop | None:
    """Let an executor train stacks; return what stopped it.

    Args:
        plan: The plan.
        todo: The stacks that are left.
        lost: Collects the folder of each run that cannot be recorded, with the reason.
    """
    from ablate.launch.inline import Inline  # loads torch, which a finished sweep does not need
    from ablate.launch.progress import Progress, SweepProgress, note

    assert plan.execution is not None, "a plan with stacks has an execution"
    failures = _Failures(plan)
    if failures.stop is not None:
        return failures.stop
    require_executor(plan)
    note_trained(run.config for s in todo for run in s.runs if not plan.has_ended(run))
    kept = keep_code([run for stack in todo for run in stack.runs])
    told = dict.fromkeys([*plan.damaged, *kept, *leave_hydra_files(plan), *_without_locks(todo)])
    for text in told:
        note(text)
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
            for text in end.notes:
                if text not in told:
                    note(text)
            lost |= end.lost
            if end.stop is not None:
                return end.stop
            if asked.asked:
                break
            if end.stack.runs[0].config["fail_fast"] and failed(_standings(plan, end.stack.runs)):
                return FIRST_FAILURE
            failures.count(end.stack.runs, lost)
            asked.enough |= failures.stop is not None
    return ASKED if asked.asked else failures.stop


def _standings(plan: Plan, runs: Iterable[Run]) -> list[Standing | None]:
    return [_standing(plan, run) for run in runs]


class _Failures:
    """Counts the failed runs of a plan, if `max_failed` limits them.

    Args:
        plan: The plan. Runs that failed earlier and are not trained again count.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._allowed: float | None = plan.runs[0].config["max_failed"]
        self._planned = {run.directory for run in plan.runs}
        self._failed: set[Path] = set()
        self.count([run for run in plan.runs if plan.has_ended(run)], {})

    def count(self, runs: Sequence[Run], lost: Mapping[Path, str]) -> None:
        """Count the runs that failed among those that ended, and those that were lost."""
        if self._allowed is None:
            return
        self._failed |= lost.keys()
        for run, found in zip(runs, _standings(self._plan, runs), strict=True):
            if found is not None and found.status == "failed":
                self._failed.add(run.directory)

    @property
    def stop(self) -> Stop | None:
        """Why no further run may start, or None."""
        count, planned = len(self._failed), len(self._planned)
        if self._allowed is None or count <= self._allowed * planned:
            return None
        return too_many_failures(count, planned, self._allowed)


def _without_locks(stacks: Sequence[RunStack]) -> list[str]:
    """Say where runs are claimed with lease files because locks do not work."""
    sweeps = dict.fromkeys(run.sweep for stack in stacks for run in stack.runs)
    return [
        f"file locks do not work in {sweep}: runs are claimed by files named .lease instead, which"
        " hold the host, the process and a heartbeat"
        for sweep in sweeps
        if sweep.is_dir() and not record.flock_works(sweep)
    ]
