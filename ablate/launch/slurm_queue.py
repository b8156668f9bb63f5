"""Talks to SLURM through its commands sbatch, scontrol and scancel; with a stand-in to try it here.

Nothing depends on accounting: `scontrol show job` knows a job while it waits and runs, and for some
minutes afterwards (MinJobAge). `sacct`, if it answers, is asked about jobs that are gone.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from ablate.environment import cores
from ablate.errors import AblateError
from ablate.launch.python_path import python_path
from ablate.launch.request_folder import RequestFolder, Submission

JOB_MODULE: Final = "ablate.launch.slurm_job"
_TIMEOUT = 60.0  # seconds for an answer of the queue
_ENDING: Final = 60.0  # seconds in which a process with nothing left to train may end
MOST_TASKS: Final = 1000  # per array; MaxArraySize is 1001 unless a cluster sets another
_WAITING: Final = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD")
_TRAINING: Final = ("RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT")
USUAL: Final = ("Priority", "Resources", "BeginTime", "JobArrayTaskLimit")  # why a job waits
_LEAVING: Final = 10  # seconds in which the processes of a requeued job have left its node
_UNKNOWN: Final = "Invalid job id"


class UnreachableError(Exception):
    """The queue does not answer, which says nothing about its jobs."""


@dataclass(frozen=True)
class TaskState:
    """What the queue says about a task.

    Attributes:
        word: Its state, such as ``PENDING``; empty if the queue no longer knows it.
        reason: Why it waits or ended, in the queue's words, or None.
        node: Where it trains or has trained, or None.
    """

    word: str
    reason: str | None = None
    node: str | None = None

    @property
    def waits(self) -> bool:
        """Whether it waits for a node."""
        return self.word in _WAITING

    @property
    def is_there(self) -> bool:
        """Whether it waits or trains."""
        return self.waits or self.word in _TRAINING

    def __str__(self) -> str:
        if not self.word:
            return "gone from the queue"
        return f"{self.word} ({self.reason})" if self.reason else self.word


GONE: Final = TaskState("")


class Queue(Protocol):
    """Where jobs are submitted."""

    def check(self, slurm: Mapping[str, Any], name: str) -> None:
        """Refuse what the queue would refuse; submit nothing.

        Raises:
            AblateError: The queue says what is wrong.
        """
        ...

    def submit(
        self, folder: RequestFolder, one: Submission, slurm: Mapping[str, Any], name: str
    ) -> str:
        """Submit tasks; return the queue's number.

        Raises:
            AblateError: The queue refuses.
        """
        ...

    def find(self, one: Submission) -> str | None:
        """Find the number of a submission whose submitter died before writing it down."""
        ...

    def states(self, one: Submission) -> dict[int, TaskState]:
        """Return the state of each task of a submission.

        Raises:
            UnreachableError: The queue does not answer.
        """
        ...

    def hurry(self, one: Submission, task: int) -> None:
        """Let a requeued task start as soon as there is a node."""
        ...

    def cancel(self, one: Submission, tasks: Sequence[int] | None = None) -> None:
        """Cancel some or all tasks. Running ones are told to stop, and save their states."""
        ...

    def close(self) -> None:
        """Wait for tasks that are child processes, and whose runs have all ended."""
        ...


def queue_of(cluster: str) -> Queue:
    """Make the queue named by the knob `slurm.cluster`."""
    return SlurmQueue() if cluster == "slurm" else LocalQueue()


def flags(slurm: Mapping[str, Any], name: str) -> list[str]:
    """List the flags of sbatch that the knobs ask for."""
    made = [
        f"--job-name={name}",
        f"--time={slurm['minutes']}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={slurm['cpus']}",
        f"--mem={slurm['memory']}G",
        "--requeue",
        "--open-mode=append",  # a requeued task goes on in the same log
    ]
    if slurm["gpus"]:
        made.append(f"--gpus-per-node={slurm['gpus']}")
    for knob in ("partition", "account", "qos", "constraint"):
        if slurm[knob] is not None:
            made.append(f"--{knob}={slurm[knob]}")
    return [*made, *slurm["flags"]]


def script(folder: RequestFolder, one: Submission) -> str:
    """Write the batch script of a task: our job replaces the shell, to receive its signals."""
    words = shlex.join([sys.executable, "-m", JOB_MODULE, str(folder.path.resolve()), one.token])
    return (
        "#!/bin/sh\ntrap '' HUP\n"
        f"export PYTHONPATH={shlex.quote(python_path())}\n"
        f'exec {words} "$SLURM_ARRAY_TASK_ID"\n'
    )


class SlurmQueue:
    """A cluster's queue."""

    def check(self, slurm: Mapping[str, Any], name: str) -> None:
        """As in `Queue`."""
        if shutil.which("sbatch") is None:
            raise AblateError(
                "launch=slurm needs SLURM's commands, and there is no sbatch here: submit on a"
                " login node, or try it with slurm.cluster=local"
            )
        done = _asked("sbatch", "--test-only", *flags(slurm, name), given="#!/bin/sh\n")
        if done.returncode:
            raise AblateError(_refusal(done.stderr, slurm))

    def submit(
        self, folder: RequestFolder, one: Submission, slurm: Mapping[str, Any], name: str
    ) -> str:
        """As in `Queue`."""
        throttle = "" if slurm["at_once"] is None else f"%{slurm['at_once']}"
        done = _asked(
            "sbatch",
            "--parsable",
            f"--array=0-{len(one.tasks) - 1}{throttle}",
            f"--comment={one.token}",
            f"--chdir={Path.cwd()}",
            f"--output={folder.path.resolve()}/%A_%a.log",
            *flags(slurm, name),
            given=script(folder, one),
        )
        if done.returncode:
            raise AblateError(_refusal(done.stderr, slurm))
        return done.stdout.strip().partition(";")[0]

    def find(self, one: Submission) -> str | None:
        """As in `Queue`."""
        done = _asked("squeue", "--noheader", "--me", "--format=%F %k")
        if done.returncode:
            raise UnreachableError(done.stderr)
        found = (line.split() for line in done.stdout.splitlines())
        return next((words[0] for words in found if words[1:] == [one.token]), None)

    def states(self, one: Submission) -> dict[int, TaskState]:
        """As in `Queue`."""
        done = _asked("scontrol", "--oneliner", "show", "job", str(one.job))
        if done.returncode and _UNKNOWN not in done.stderr:
            raise UnreachableError(done.stderr)
        found = told_by_scontrol(done.stdout)
        if len(found) < len(one.tasks):
            found = _told_by_sacct(str(one.job)) | found
        return {task: found.get(task, GONE) for task in range(len(one.tasks))}

    def hurry(self, one: Submission, task: int) -> None:
        """As in `Queue`.

        SLURM lets a requeued job wait for two minutes. Starting at once would be too soon: on the
        same node, it might meet its own last processes.
        """
        _asked("scontrol", "update", f"JobId={one.named(task)}", f"StartTime=now+{_LEAVING}")

    def cancel(self, one: Submission, tasks: Sequence[int] | None = None) -> None:
        """As in `Queue`."""
        if one.job is None:
            return
        names = [one.job] if tasks is None else [one.named(task) for task in tasks]
        for start in range(0, len(names), 100):
            _asked("scancel", *names[start : start + 100])

    def close(self) -> None:
        """As in `Queue`: its tasks are processes of the nodes."""


def requeue(job: str) -> bool:
    """Put the calling job back into the queue; tell whether that worked."""
    return _asked("scontrol", "requeue", job).returncode == 0


def end_time(job: str) -> float | None:
    """Ask when a job reaches its time limit, in seconds since the epoch; None if unknown."""
    import time

    told = os.environ.get("SLURM_JOB_END_TIME")
    if told and told.isdecimal():
        return float(told)
    found = re.search(r"\bEndTime=(\S+)", _asked("scontrol", "show", "job", job).stdout)
    try:
        return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) if found else None
    except ValueError:  # Unknown
        return None


def told_by_scontrol(text: str) -> dict[int, TaskState]:
    """Read what `scontrol --oneliner show job` says about the tasks of an array."""
    found: dict[int, TaskState] = {}
    for line in text.splitlines():
        told = dict(re.findall(r"(\w+)=(\S*)", line))
        if "ArrayTaskId" not in told or "JobState" not in told:
            continue
        word, reason = told["JobState"], _word(told.get("Reason"))
        if word not in _WAITING and reason in USUAL:  # why it waited earlier
            reason = None
        state = TaskState(word, reason, _word(told.get("NodeList")))
        for task in _tasks(told["ArrayTaskId"]):
            found.setdefault(task, state)
    return found


def _told_by_sacct(job: str) -> dict[int, TaskState]:
    """Ask accounting about the tasks of an array; empty if it is not running."""
    if shutil.which("sacct") is None:
        return {}
    done = _asked("sacct", "-X", "-n", "-P", "-D", "-j", job, "-o", "JobID,State,Reason,NodeList")
    return told_by_sacct(done.stdout) if done.returncode == 0 else {}


def told_by_sacct(text: str) -> dict[int, TaskState]:
    """Read what `sacct -X -n -P -o JobID,State,Reason,NodeList` says about an array's tasks."""
    found: dict[int, TaskState] = {}
    for line in text.splitlines():
        name, state, reason, node = (line.split("|") + [""] * 4)[:4]
        word = (state.split() or [""])[0]
        for task in _tasks(name.partition("_")[2].strip("[]")):
            found[task] = TaskState(word, _word(reason), _word(node))  # the last entry counts
    return found


def _word(text: str | None) -> str | None:
    return None if text in (None, "", "None", "(null)", "None assigned") else text


def _tasks(text: str) -> list[int]:
    """Read the numbers of tasks, such as ``0``, ``5-11%2`` or ``1,4-5``."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            found += range(int(first), int(last or first) + 1)
    return found


def _refusal(told: str, slurm: Mapping[str, Any]) -> str:
    """Say why the queue refuses, with the knobs that may be the cause."""
    lines = [re.sub(r"^(sbatch: )?(error: )?", "", line).strip() for line in told.splitlines()]
    why = "; ".join(dict.fromkeys(line for line in lines if line)) or "no reason given"
    asked = ", ".join(
        f"slurm.{name}={slurm[name]}"
        for name in ("partition", "account", "qos", "constraint", "minutes", "cpus", "gpus")
        if slurm[name] is not None
    )
    more = f", slurm.memory={slurm['memory']}" + (
        f", slurm.flags={slurm['flags']}" if slurm["flags"] else ""
    )
    return f"the queue refuses the jobs: {why} (asked for: {asked}{more})"


def _asked(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Call a command of the queue; a missing or silent command counts as failed."""
    try:
        return subprocess.run(
            words, input=given, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]}: {error}")


# -- here ------------------------------------------------------------------------------------------


@dataclass
class LocalQueue:
    """Runs the same jobs as processes of this machine, as many at a time as its cores allow."""

    _jobs: dict[str, list[list[str]]] = field(default_factory=dict)
    _running: dict[tuple[str, int], subprocess.Popen[bytes]] = field(default_factory=dict)
    _cancelled: set[tuple[str, int]] = field(default_factory=set)
    _at_once: int = 1

    def check(self, slurm: Mapping[str, Any], name: str) -> None:
        """As in `Queue`: anything can be tried here."""

    def submit(
        self, folder: RequestFolder, one: Submission, slurm: Mapping[str, Any], name: str
    ) -> str:
        """As in `Queue`."""
        self._at_once = slurm["at_once"] or max(1, cores() // slurm["cpus"])
        words = [sys.executable, "-m", JOB_MODULE, str(folder.path.resolve()), one.token]
        self._jobs[one.token] = [[*words, str(task)] for task in range(len(one.tasks))]
        self._folder = folder.path.resolve()
        return one.token

    def find(self, one: Submission) -> str | None:
        """As in `Queue`: processes that another one started are not known here."""
        return None

    def states(self, one: Submission) -> dict[int, TaskState]:
        """As in `Queue`."""
        jobs = self._jobs.get(one.token, [])
        found = {}
        for task, words in enumerate(jobs):
            process = self._running.get((one.token, task))
            busy = sum(other.poll() is None for other in self._running.values())
            if (
                process is None
                and busy < self._at_once
                and (one.token, task) not in self._cancelled
            ):
                process = self._started(one, task, words)
            found[task] = self._state(one, task, process)
        return {task: found.get(task, GONE) for task in range(len(one.tasks))}

    def _started(self, one: Submission, task: int, words: list[str]) -> subprocess.Popen[bytes]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        with (self._folder / f"{one.token}_{task}.log").open("ab") as log:
            made = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env | {"PYTHONPATH": python_path()},
                start_new_session=True,  # Ctrl-C is for this process
            )
        self._running[one.token, task] = made
        return made

    def _state(
        self, one: Submission, task: int, process: subprocess.Popen[bytes] | None
    ) -> TaskState:
        if (one.token, task) in self._cancelled and (process is None or process.poll() is not None):
            return TaskState("CANCELLED")
        if process is None:
            return TaskState("PENDING", "Resources")
        code = process.poll()
        if code is None:
            return TaskState("RUNNING", node="here")
        return TaskState("COMPLETED") if code == 0 else TaskState("FAILED", f"exit {code}")

    def hurry(self, one: Submission, task: int) -> None:
        """As in `Queue`: nothing waits here."""

    def cancel(self, one: Submission, tasks: Sequence[int] | None = None) -> None:
        """As in `Queue`."""
        for task in range(len(one.tasks)) if tasks is None else tasks:
            self._cancelled.add((one.token, task))
            process = self._running.get((one.token, task))
            if process is not None and process.poll() is None:
                process.terminate()

    def close(self) -> None:
        """As in `Queue`."""
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_ENDING)
