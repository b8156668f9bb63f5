"""A task of a job array: it replaces the batch script, and trains its stacks one after another.

    python -m ablate.launch.slurm_job FOLDER TOKEN TASK [LANE]

It saves all states before its time limit, by its own clock: SLURM may send its warning up to a
minute early, which would leave nothing of a one-minute limit. Then it asks to be requeued, and
resumes when it starts again. On SIGTERM, which SLURM sends when a job is cancelled, preempted or
out of time, it saves the states as well.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ablate import record
from ablate.errors import AblateError
from ablate.launch.interruption import Interruption
from ablate.launch.request_folder import RequestFolder, Submission, TaskEnd
from ablate.launch.settlement import Settled, settled, this_node
from ablate.launch.slurm_queue import end_time, requeue
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack

_LOOK: Final = 2.0  # seconds between two checks of runs that another process holds
_LAST_SECONDS: Final = (10.0, 60.0)  # kept for saving, at least and at most
_SHARE: Final = 1 / 6  # share of the limit kept for saving, within these bounds


def seconds_kept(minutes: float) -> float:
    """Return how many seconds before its time limit a job stops to save its states."""
    low, high = _LAST_SECONDS
    return min(high, max(low, minutes * 60 * _SHARE))


class Clock:
    """Asks this process to stop some seconds before its job's time limit, like SIGHUP.

    Args:
        minutes: The limit.

    Attributes:
        has_rung: Whether it has asked.
    """

    def __init__(self, minutes: float) -> None:
        job = os.environ.get("SLURM_JOB_ID")
        end = end_time(job) if job is not None else None
        left = minutes * 60 if end is None else end - time.time()
        self.has_rung = False
        timer = threading.Timer(max(0.0, left - seconds_kept(minutes)), self._ring)
        timer.daemon = True
        timer.start()

    def _ring(self) -> None:
        self.has_rung = True
        os.kill(os.getpid(), signal.SIGHUP)  # which, unlike SIGTERM, never exits at once


def main(folder: RequestFolder, one: Submission, task: int, lane: int | None = None) -> int:
    """Train the stacks of a task; return the exit status."""
    # The batch script ignores SIGHUP, so that it cannot end this process before it is ready.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    one = replace(one, job=os.environ.get("SLURM_ARRAY_JOB_ID", one.job))
    with Interruption() as stop:
        runs = folder.runs()
        slurm = runs[one.tasks[task][0]].config["slurm"]
        clock = Clock(slurm["minutes"])
        if lane is None:
            folder.forget_end(one, task)
        try:
            how = settled(folder, this_node(slurm["cpus"]), lanes=slurm["abreast"])
        except AblateError as error:
            folder.write_end(one, task, TaskEnd("unfit", error.faults))
            return 1
        # Torch reads it only once, on import.
        os.environ["OMP_NUM_THREADS"] = str(how.threads)
        mine = stacks_of_task(how, one, task)
        before = _progress(runs, how, mine)
        lanes = min(how.lanes, len(mine))
        if lane is None and lanes > 1:
            end = _in_lanes(folder, one, task, lanes, stop)
        else:
            start = (lane or 0) * len(mine) // max(1, lanes)
            stacks = [how.stack(number, runs) for number in (*mine[start:], *mine[:start])]
            end = _trained(stacks, how, stop)
        if clock.has_rung and end.why in ("stopped", "waited"):
            moved = end.why == "waited" or _progress(runs, how, mine) != before
            end = TaskEnd("time" if moved else "stuck", end.notes, end.lost)
            _explain([runs[place] for n in mine for place in how.stacks[n].runs], one, task)
    name = f"{one.token}.{task}" if lane is None else f"{one.token}.{task}.{lane}"
    record.write_json(folder.path / f"{name}.json", vars(end))
    if lane is None and end.why == "time" and "SLURM_ARRAY_JOB_ID" in os.environ:
        requeue(f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}")
    return 0


def stacks_of_task(how: Settled, one: Submission, task: int) -> list[int]:
    """List the settled stacks of a task.

    A submission names runs in guessed stacks. Each settled stack belongs to the task that names the
    first of its runs named by any task.
    """
    owner = {place: number for number, runs in enumerate(one.tasks) for place in runs}
    mine = []
    for number, stack in enumerate(how.stacks):
        owners = [owner[place] for place in stack.runs if place in owner]
        if owners[:1] == [task]:
            mine.append(number)
    return mine


def _trained(stacks: Sequence[RunStack], how: Settled, stop: Interruption) -> TaskEnd:
    """Train stacks. Those that another process holds are checked again until it lets go."""
    from ablate.launch.inline import finish, work_of  # loads torch

    left, notes, lost = list(stacks), list[str](), dict[str, str]()
    waits = False
    while left:
        held = []
        for stack in left:
            if stop.asked:
                return TaskEnd("waited" if waits else "stopped", tuple(notes), lost)
            end = finish(work_of(stack, how.threads))
            notes += end.notes
            lost |= {str(folder): why for folder, why in end.lost.items()}
            if end.stop is not None:
                why = "full" if end.stop.why == "disk full" else "stopped"
                more = () if why == "stopped" else (end.stop.message,)
                return TaskEnd(why, (*notes, *more), lost)
            if end.held:
                held.append(stack)
        left, waits = held, bool(held)
        for _ in range(int(_LOOK / 0.2) if left else 0):
            if not stop.asked:
                time.sleep(0.2)
    return TaskEnd("done", tuple(notes), lost)


def _in_lanes(
    folder: RequestFolder, one: Submission, task: int, lanes: int, stop: Interruption
) -> TaskEnd:
    """Train in several processes at a time, each with its own clock."""
    words = [sys.executable, "-m", "ablate.launch.slurm_job", str(folder.path), one.token]
    processes = [subprocess.Popen([*words, str(task), str(n)]) for n in range(lanes)]
    told = False
    while any(process.poll() is None for process in processes):
        if stop.asked and not told:
            told = True
            for process in processes:
                process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    ends = []
    for lane in range(lanes):
        file = folder.path / f"{one.token}.{task}.{lane}.json"
        found = folder.end_at(file.name)
        ends.append(TaskEnd("died") if found is None else found)
        file.unlink(missing_ok=True)
    order = ("full", "unfit", "stuck", "time", "waited", "stopped", "died", "done")
    why = min((end.why for end in ends), key=order.index)
    lost = {folder: why for end in ends for folder, why in (end.lost or {}).items()}
    return TaskEnd(
        "stopped" if why in ("time", "stuck") else why, sum((e.notes for e in ends), ()), lost
    )


def _progress(runs: Sequence[Run], how: Settled, mine: Sequence[int]) -> list[object]:
    """Return how far a task's runs are: the times of their states, and which have ended."""
    places = [place for number in mine for place in how.stacks[number].runs]
    found: list[object] = []
    for place in places:
        directory = runs[place].directory
        state = directory / record.CHECKPOINT
        old = record.read_if_sound(directory)
        ended = old is not None and old["status"] in record.ENDED
        found.append((ended, state.stat().st_mtime_ns if state.exists() else None))
    return found


def _explain(runs: Sequence[Run], one: Submission, task: int) -> None:
    """Record that the time limit stopped the interrupted runs."""
    for run in runs:
        found = record.read_if_sound(run.directory)
        if found is None or found["status"] != "interrupted":
            continue
        with record.claim(run.directory, wait=False) as claim:
            if claim:
                why = f"{found['reason']}: job {one.named(task)} reached its time limit"
                record.write(run.directory, found | {"reason": why})


if __name__ == "__main__":
    path, token, number, *lane = sys.argv[1:]
    found = RequestFolder(Path(path))
    sys.exit(main(found, found.submission(token), int(number), int(lane[0]) if lane else None))
