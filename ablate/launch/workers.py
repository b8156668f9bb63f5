"""Trains stacks in a pool of worker processes, which share the cores or take a GPU each.

Each place in the pool is a loky executor (installed with joblib) with one process. So if a process
is killed, we know which stack it was training: that stack is recorded as failed, others are not
affected, and the place gets a new process. (A stack of several runs is first halved until a single
run is found whose process gets killed; that run is tried `retries` more times.)
"""

from __future__ import annotations

import ctypes
import os
import platform
import queue
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace

from joblib.externals.loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

from ablate import environment, record, streams
from ablate.errors import AblateError
from ablate.launch.attempt import Work
from ablate.launch.describe import note_accident
from ablate.launch.executor import StackEnd
from ablate.launch.inline import WorkEnd, finish, wait_for, work_of
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import ASKED
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack

_KILLED = "its process was killed (SIGKILL; was there enough memory?)"
_POLL = 0.1  # seconds between two checks for a requested stop
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Workers:
    """Trains in a pool of processes.

    Args:
        how: The execution of the plan.
    """

    name = "workers"

    def __init__(self, how: Execution) -> None:
        self._how = how

    def check(self, stacks: Sequence[RunStack]) -> None:
        """Any stack can be trained here."""

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Train stacks; yield each as it ends. Those held by another process come last."""
        todo: queue.SimpleQueue[RunStack] = queue.SimpleQueue()
        for stack in stacks:
            todo.put(stack)
        ended: queue.SimpleQueue[tuple[RunStack, WorkEnd | BaseException]] = queue.SimpleQueue()
        places = [_Place(number, self._how, todo, ended) for number in range(self._how.workers)]
        held: list[tuple[RunStack, WorkEnd]] = []
        left = len(stacks)
        try:
            while left and not stop.asked:
                if stop.enough:
                    left -= _emptied(todo)
                try:
                    stack, end = ended.get(timeout=_POLL)
                except queue.Empty:
                    continue
                left -= 1
                if isinstance(end, BaseException):
                    raise end
                if end.held and end.stop is None:
                    held.append((stack, end))
                else:
                    yield end.of(stack)
        finally:
            for place in places:
                place.close()
        if not stop.asked:
            yield from wait_for(self._how, held, stop)


def _emptied(todo: queue.SimpleQueue[RunStack]) -> int:
    """Withdraw stacks that have not started; return how many."""
    count = 0
    with suppress(queue.Empty):
        while True:
            todo.get_nowait()
            count += 1
    return count


class _Place(threading.Thread):
    """A place in the pool: a thread that passes stacks one by one to its own process."""

    def __init__(
        self,
        number: int,
        how: Execution,
        todo: queue.SimpleQueue[RunStack],
        ended: queue.SimpleQueue[tuple[RunStack, WorkEnd | BaseException]],
    ) -> None:
        super().__init__(name=f"place-{number}", daemon=True)
        self.number, self.how, self.todo, self.ended = number, how, todo, ended
        self.closing = False
        self.executor = self._executor()
        self.start()

    def _executor(self) -> ProcessPoolExecutor:
        # On a CPU each process gets its share of the cores; with GPUs, each process gets one.
        env = environment.variables_for(self.number, os.environ)
        if self.how.threads is not None:
            env = {"OMP_NUM_THREADS": str(self.how.threads)}
        return ProcessPoolExecutor(
            max_workers=1, initializer=begin, initargs=(os.getpid(),), env=env
        )

    def run(self) -> None:
        """Train stacks until none is left."""
        while not self.closing:
            try:
                stack = self.todo.get_nowait()
            except queue.Empty:
                return
            try:
                end: WorkEnd | BaseException = self._train(stack)
            # Any error of the pool itself ends the sweep; the main thread raises it again.
            except BaseException as error:
                end = error
            self.ended.put((stack, end))

    def _train(self, stack: RunStack) -> WorkEnd:
        try:
            done = self.executor.submit(work_for, os.getpid(), work_of(stack, self.how.threads))
            end: WorkEnd = done.result()
            return end
        except TerminatedWorkerError:
            if self.closing:
                return WorkEnd(stop=ASKED)
        self.executor = self._executor()
        if len(stack.runs) == 1:
            return self._tried(stack)
        middle = len(stack.runs) // 2
        first = self._train(replace(stack, runs=stack.runs[:middle]))
        if first.stop is not None:
            return first
        return first.then(self._train(replace(stack, runs=stack.runs[middle:])))

    def _tried(self, stack: RunStack) -> WorkEnd:
        """Record that the process of a run was killed; perhaps try it again."""
        run = stack.runs[0]
        try:
            again = note_accident(run, run.directory, _KILLED)
            with (run.directory / record.LOG).open("a", encoding="utf-8") as file:
                file.write(f"{_KILLED}{'; tried again' if again else ''}\n")
        except (OSError, AblateError) as error:
            return WorkEnd(lost={run.directory: f"{_KILLED}, and its record: {error}"})
        return self._train(stack) if again and not self.closing else WorkEnd()

    def close(self) -> None:
        """Ask the process to stop, once it has saved its states; wait for it.

        A process that is just starting is asked as soon as it exists. Asked twice, it would exit at
        once.
        """
        self.closing = True
        asked = set[int]()
        while self.is_alive():
            for process in list(self.executor._processes.values()):
                if process.pid is not None and process.pid not in asked:
                    asked.add(process.pid)
                    _signal(process.pid)
            self.join(_POLL)
        self.executor.shutdown(wait=True, kill_workers=False)


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def work_for(parent: int, work: Work) -> WorkEnd:
    """Train a stack in a worker; if its parent has died meanwhile, end the worker.

    Otherwise it would wait for work forever, and loky's semaphores would stay in /dev/shm.
    """
    end = finish(work)
    if os.getppid() != parent:
        os._exit(1)
    return end


def begin(parent: int) -> None:
    """Set up a worker; on Linux the kernel sends it a SIGTERM if its parent dies."""
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to parent and worker
        signal.signal(number, signal.SIG_IGN)  # and the parent passes a stop on
    streams.outlive()
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
