"""Trains stacks as job arrays of a SLURM cluster; `slurm.cluster=local` tries the same jobs here.

This process trains nothing: it submits, and watches the queue and the records, which the jobs write
into the same folders, on a file system that the cluster shares. It may end: what it submitted is
written down in the sweep's folder, so the same command finds the jobs again, and submits runs that
no longer have a job. Ctrl-C cancels the jobs; a closed terminal or a logout leaves them.

A job that reached its time limit requeues itself. One that was preempted, or lost its node, is
requeued by the queue or submitted again by this process. A cancelled job stays cancelled until the
same command is run again.

It calls sbatch and scontrol itself, since submitit's watcher needs accounting (sacct), and its jobs
count a time limit as a failure.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ablate import record
from ablate.errors import AblateError, DamagedError, RunError
from ablate.launch.describe import first_record, note_accident
from ablate.launch.executor import StackEnd
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import ASKED, Stop
from ablate.launch.progress import note
from ablate.launch.request_folder import (
    RequestFolder,
    Submission,
    TaskEnd,
    in_order,
    without_rerun,
)
from ablate.launch.settlement import read as read_settled
from ablate.launch.slurm_queue import (
    GONE,
    MOST_TASKS,
    USUAL,
    Queue,
    TaskState,
    UnreachableError,
    queue_of,
)
from ablate.plan.execution import Execution
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack

_POLL: Final = {"slurm": 2.0, "local": 0.2}  # seconds between two checks of the queue
_STUCK: Final = 3  # submissions in a row without progress, after which a run is given up
_GRACE: Final = 60.0  # seconds in which cancelled jobs may save their states
_UNSEEN: Final = 10.0  # seconds after which a task unknown to the queue is gone

LEFT: Final = Stop(
    "interrupted", "the jobs stay in the queue: run the same command again to keep watching them"
)


class Slurm:
    """Trains stacks as tasks of job arrays.

    Args:
        how: The execution of the plan.
    """

    name = "slurm"

    def __init__(self, how: Execution) -> None:
        self._how = how

    def check(self, stacks: Sequence[RunStack]) -> None:
        """Refuse what the queue would refuse, before any folder is created.

        Raises:
            AblateError: The queue says what is wrong.
        """
        for members in _alike(stacks):
            config = members[0].runs[0].config
            queue_of(config["slurm"]["cluster"]).check(config["slurm"], str(config["name"]))

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Submit runs without a job; yield each stack as its runs or its job end for good."""
        runs = in_order(self._how.runs)
        watch = _JobWatch(RequestFolder.of(runs), runs, stacks)
        leaves = False
        try:
            watch.begin()
            while watch.left and not stop.asked:
                if stop.enough:
                    watch.cancel_waiting()
                yield from watch.look()
                _rest(_POLL[watch.cluster], stop)
            leaves = stop.asked and stop.number in (signal.SIGTERM, signal.SIGHUP)
        finally:
            if not leaves:
                watch.take_back()
        if stop.asked:
            yield StackEnd(stacks[0], LEFT if leaves else ASKED)


def _rest(seconds: float, stop: Interruption) -> None:
    end = time.monotonic() + seconds
    while not stop.asked and time.monotonic() < end:
        time.sleep(0.1)


def _alike(stacks: Sequence[RunStack]) -> list[list[RunStack]]:
    """Group stacks whose jobs ask for the same resources; `slurm.*` may differ between runs."""
    found: dict[str, list[RunStack]] = {}
    for stack in stacks:
        found.setdefault(str(stack.runs[0].config["slurm"]), []).append(stack)
    return list(found.values())


@dataclass
class _Task:
    """A task that is watched.

    Attributes:
        one: Its submission.
        number: Its number there.
        runs: Its runs that had not ended when it was submitted, by their places.
        state: What the queue last said about it.
        since: When it was first checked, by the monotonic clock.
        is_hurried: Whether this process asked for it to start at once after it was requeued.
    """

    one: Submission
    number: int
    runs: tuple[int, ...]
    state: TaskState = GONE
    since: float = field(default_factory=time.monotonic)
    is_hurried: bool = False

    @property
    def name(self) -> str:
        """Its name in the queue."""
        return self.one.named(self.number)


class _JobWatch:
    """Watches the stacks of a plan.

    Args:
        folder: The request's folder.
        runs: All its runs, in the order of the folder.
        stacks: Those that are left.

    Attributes:
        left: Stacks that have not ended.
    """

    def __init__(
        self, folder: RequestFolder, runs: Sequence[Run], stacks: Sequence[RunStack]
    ) -> None:
        self.folder, self.runs = folder, [without_rerun(run) for run in runs]
        self.left = list(stacks)
        self._asked = list(runs)
        self._place = {run.directory: place for place, run in enumerate(runs)}
        self._tasks: list[_Task] = []
        self._ended: dict[int, bool] = {}
        self._stamps: dict[int, int] = {}
        self._given_up: dict[int, str] = {}  # place -> why
        self._marks: dict[tuple[int, ...], tuple[object, int]] = {}
        self._lost: dict[Path, str] = {}
        self._notes: list[str] = []
        self.cluster = str(stacks[0].runs[0].config["slurm"]["cluster"])
        self._queues: dict[str, Queue] = {}
        self._told: set[str] = set()

    def queue(self, cluster: str) -> Queue:
        """Return the queue of a submission."""
        return self._queues.setdefault(cluster, queue_of(cluster))

    # -- submitting --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take over what earlier commands submitted, and submit the rest."""
        with self.folder.locked():
            self.folder.write_runs(self.runs)
            self._take_over()
            covered = {place for task in self._tasks for place in task.runs}
            wanted = [
                s for s in self.left if not {self._place[r.directory] for r in s.runs} <= covered
            ]
            for stack in wanted:
                self._make_ready(stack, covered)
            self._submit(self._as_settled(wanted, covered))
        if self._tasks and covered:
            jobs = ", ".join(sorted({str(task.one.job) for task in self._tasks}))
            note(f"watching jobs of an earlier command: {jobs}")

    def _take_over(self) -> None:
        """Watch tasks of earlier submissions that are still in the queue."""
        for one in self.folder.submissions():
            queue = self.queue(one.cluster)
            try:
                if one.job is None:
                    job = queue.find(one)
                    if job is None:  # its submitter died before the queue got it
                        self.folder.remove(one)
                        continue
                    one = replace(one, job=job)
                    self.folder.write(one)
                states = queue.states(one)
            except UnreachableError as error:
                raise RunError(
                    f"the queue does not answer, and jobs may be in it: {str(error).strip()}; run"
                    " the same command again when it does"
                ) from error
            for number, state in states.items():
                if state.is_there:
                    left = tuple(p for p in one.tasks[number] if not self._has_ended(p))
                    self._tasks.append(_Task(one, number, left, state))

    def _make_ready(self, stack: RunStack, covered: Iterable[int]) -> None:
        """Set aside what `rerun` asks to train again, since jobs train only what has not ended."""
        for run in stack.runs:
            if self._place[run.directory] in covered:
                continue
            run.directory.mkdir(parents=True, exist_ok=True)
            with record.claim(run.directory, wait=False) as claim:
                if claim:
                    self._notes += record.mend(run.directory)
                    record.set_aside_if_ended(run.directory, run.config["rerun"])

    def _as_settled(
        self, stacks: Sequence[RunStack], covered: Iterable[int]
    ) -> list[tuple[int, ...]]:
        """List the runs that go together, as the first job settled or else as guessed."""
        wanted = {self._place[run.directory] for stack in stacks for run in stack.runs}
        found = self.folder.settled
        if found is None:
            groups = [tuple(self._place[run.directory] for run in s.runs) for s in stacks]
        else:
            groups = [stack.runs for stack in read_settled(found).stacks]
        without = [tuple(p for p in group if p in wanted and p not in covered) for group in groups]
        return [g for g in without if any(not self._has_ended(p) for p in g)]

    def _submit(self, groups: Sequence[tuple[int, ...]]) -> None:
        """Submit groups of runs as arrays, one for all jobs that ask for the same."""
        alike: dict[str, list[tuple[int, ...]]] = {}
        for group in groups:
            alike.setdefault(str(self.runs[group[0]].config["slurm"]), []).append(group)
        for members in alike.values():
            config = self.runs[members[0][0]].config
            slurm, name = config["slurm"], str(config["name"])
            size = slurm["stacks"]
            tasks = [
                tuple(p for group in members[start : start + size] for p in group)
                for start in range(0, len(members), size)
            ]
            for start in range(0, len(tasks), MOST_TASKS):
                self._submit_array(tasks[start : start + MOST_TASKS], slurm, name)

    def _submit_array(self, tasks: Sequence[tuple[int, ...]], slurm: Any, name: str) -> None:
        one = self.folder.new(tasks, slurm["cluster"])
        try:
            job = self.queue(one.cluster).submit(self.folder, one, slurm, name)
        except AblateError:
            self.folder.remove(one)
            raise
        one = replace(one, job=job)
        self.folder.write(one)
        for number, task in enumerate(tasks):
            left = tuple(p for p in task if not self._has_ended(p))
            self._tasks.append(_Task(one, number, left))

    # -- watching ----------------------------------------------------------------------------------

    def look(self) -> Generator[StackEnd, None, None]:
        """Check the queue and the records; yield the stacks that have ended since."""
        again: list[tuple[int, ...]] = []
        for one in {task.one.token: task.one for task in self._tasks}.values():
            try:
                states = self.queue(one.cluster).states(one)
            except UnreachableError as error:
                self._tell_once(f"the queue is not answering right now: {str(error).strip()}")
                continue
            for task in [t for t in self._tasks if t.one.token == one.token]:
                self._follow(task, states[task.number], again)
        if again:
            with self.folder.locked():
                self._submit(again)
        for stack in list(self.left):
            places = [self._place[run.directory] for run in stack.runs]
            if all(self._has_ended(p) or p in self._given_up for p in places):
                self.left.remove(stack)
                reasons = dict.fromkeys(self._given_up[p] for p in places if p in self._given_up)
                notes, self._notes = (*self._notes, *reasons), []
                lost = {
                    run.directory: self._lost[run.directory]
                    for run in stack.runs
                    if run.directory in self._lost
                }
                full = next((n for n in reasons if n.startswith(_FULL)), None)
                yield StackEnd(stack, Stop("disk full", full) if full else None, notes, lost)

    def _follow(self, task: _Task, state: TaskState, again: list[tuple[int, ...]]) -> None:
        """Note a task's state, and decide what to do with one that is gone."""
        if not state.word and time.monotonic() - task.since < _UNSEEN:
            return  # submitted a moment ago
        if state.waits and state.reason == "BeginTime" and not task.is_hurried:
            task.is_hurried = True
            self.queue(task.one.cluster).hurry(task.one, task.number)
        if not state.waits:
            task.is_hurried = False
        if state.waits and state.reason not in (None, *USUAL):
            self._tell_once(f"job {task.name} waits: {state.reason}")
        task.state = state
        if state.is_there:
            return
        self._tasks.remove(task)
        end = self.folder.end(task.one, task.number)
        if end is not None:
            self._notes += end.notes
            self._lost |= {Path(folder): why for folder, why in (end.lost or {}).items()}
        left = [p for p in task.runs if not self._has_ended(p)]
        left = [p for p in left if self.runs[p].directory not in self._lost]
        for place in task.runs:
            if self.runs[place].directory in self._lost:
                self._given_up[place] = self._lost[self.runs[place].directory]
        if left:
            self._decide(task, tuple(left), state, end, again)

    def _decide(
        self,
        task: _Task,
        left: tuple[int, ...],
        state: TaskState,
        end: TaskEnd | None,
        again: list[tuple[int, ...]],
    ) -> None:
        """Submit the runs that a task left again, or give them up, with the reason."""
        why, job = "" if end is None else end.why, f"job {task.name}"
        if state.word == "CANCELLED" or self._never_started(task, state):
            told = f"{job} was cancelled; run the same command to submit it again"
        elif why == "unfit":
            told = f"{job}: {'; '.join(end.notes) if end else ''}"
        elif why == "full":
            told = f"{_FULL} of {job}"
        elif why == "stuck":
            told = f"{job} trained no step within its time limit: raise slurm.minutes"
        elif why != "time" and self._is_its_own_fault(state, end):
            told = f"{job} ended: {state}; its log is {self._log(task)}"
            kept = [p for p in left if self._tried_again(p, told)]
            again += [tuple(kept)] if kept else []
            return
        elif self._is_stuck(left):
            told = f"{job} ended: {state}; {_STUCK} jobs in a row made no progress"
        else:
            what = "reached its time limit" if why == "time" else f"ended: {state}"
            self._record(left, f"{job} {what}")
            self._tell_once(f"{job} {what}; its runs are submitted again")
            again.append(left)
            return
        self._record(left, told)
        for place in left:
            self._given_up[place] = told

    def _is_its_own_fault(self, state: TaskState, end: TaskEnd | None) -> bool:
        """Tell whether a task crashed, rather than stopping by itself or being ended by the queue.

        A task that reached its time limit and was requeued has said so, and forgets it when it
        starts again. SLURM may count its remaining processes as a failure of that start.
        """
        return state.word in _OWN_FAULT or (state.word == "COMPLETED" and end is None)

    def _never_started(self, task: _Task, state: TaskState) -> bool:
        """Tell whether a task was cancelled while waiting: the queue forgets it at once."""
        return task.one.cluster == "slurm" and not state.word and not self._log(task).exists()

    def _tried_again(self, place: int, told: str) -> bool:
        """Record an accident; tell whether `retries` allows another attempt."""
        run = self.runs[place]
        try:
            with record.claim(run.directory, wait=False) as claim:
                if not claim:  # it is trained elsewhere
                    return True
                if note_accident(run, run.directory, told):
                    return True
        except (OSError, AblateError) as error:
            self._lost[run.directory] = f"{told}, and its record: {error}"
        self._given_up[place] = told
        return False

    def _record(self, places: Iterable[int], reason: str) -> None:
        """Record why runs were interrupted, in the queue's words."""
        for place in places:
            run = self.runs[place]
            try:
                run.directory.mkdir(parents=True, exist_ok=True)
                with record.claim(run.directory, wait=False) as claim:
                    old = record.read(run.directory) or first_record(run)
                    if claim and not record.has_ended(old, "none"):
                        why = f"{r}: {reason}" if (r := old["reason"]) and job_less(r) else reason
                        record.write(run.directory, old | {"status": "interrupted", "reason": why})
            except (OSError, AblateError) as error:
                self._notes.append(f"{run.directory}: {error}")

    def _is_stuck(self, left: tuple[int, ...]) -> bool:
        """Tell whether several jobs in a row made no progress."""
        states = [self.runs[p].directory / record.CHECKPOINT for p in left]
        mark = tuple(s.stat().st_mtime_ns if s.exists() else 0 for s in states)
        before, count = self._marks.get(left, (None, 0))
        count = count + 1 if before == mark else 1
        self._marks[left] = (mark, count)
        return count > _STUCK

    def _has_ended(self, place: int) -> bool:
        """Tell whether a run has ended; a record is read again only once it has changed."""
        directory = self.runs[place].directory
        try:
            stamp = (directory / record.RECORD).stat().st_mtime_ns
        except OSError:
            return False
        if self._stamps.get(place) != stamp:
            try:
                found = record.read(directory, checked=True)
            except DamagedError:
                found = None
            except AblateError:
                return False
            self._stamps[place] = stamp
            self._ended[place] = found is not None and record.has_ended(found, "none")
        return self._ended[place]

    def _log(self, task: _Task) -> Path:
        return self.folder.path / f"{task.name}.log"

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            note(text)

    # -- cancelling --------------------------------------------------------------------------------

    def cancel_waiting(self) -> None:
        """Cancel waiting tasks; those that train may end."""
        for task in [t for t in self._tasks if t.state.waits]:
            self.queue(task.one.cluster).cancel(task.one, [task.number])
            self._tasks.remove(task)
            for place in task.runs:
                self._given_up.setdefault(place, f"job {task.name} was cancelled before it started")

    def take_back(self) -> None:
        """Cancel all remaining tasks, and wait while they save their states."""
        by_token: dict[str, list[_Task]] = {}
        # A task whose runs have ended is about to end by itself.
        self._tasks = [t for t in self._tasks if not all(map(self._has_ended, t.runs))]
        for task in self._tasks:
            by_token.setdefault(task.one.token, []).append(task)
        for tasks in by_token.values():
            whole = len(tasks) == len(tasks[0].one.tasks)
            numbers = None if whole else [task.number for task in tasks]
            self.queue(tasks[0].one.cluster).cancel(tasks[0].one, numbers)
        end = time.monotonic() + _GRACE
        while self._tasks and time.monotonic() < end:
            for tasks in by_token.values():
                self._drop_gone(tasks)
            time.sleep(0.2)
        for queue in self._queues.values():
            queue.close()

    def _drop_gone(self, tasks: list[_Task]) -> None:
        try:
            states = self.queue(tasks[0].one.cluster).states(tasks[0].one)
        except UnreachableError:
            return
        for task in [t for t in tasks if not states[t.number].is_there]:
            if task in self._tasks:
                self._tasks.remove(task)


_FULL: Final = "the disk was full on the node"
_OWN_FAULT: Final = ("FAILED", "OUT_OF_MEMORY")


def job_less(reason: str) -> bool:
    """Tell whether a reason does not yet name a job."""
    return "job " not in reason
