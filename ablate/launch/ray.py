"""Trains stacks as tasks of a Ray cluster, which places them and retries those whose worker died.

If their node shares the sweep's folder with this process, tasks write records there as usual. If
not, they train in a folder of their own, and their files come back through Ray's object store when
they end; a lost task starts again from the files it was given. The node of the first task settles
device, stacks and threads for the whole request.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ablate import record
from ablate.config.effect import Config
from ablate.environment import cores
from ablate.errors import AblateError
from ablate.launch.attempt import Work
from ablate.launch.describe import note_accident
from ablate.launch.executor import StackEnd
from ablate.launch.inline import WorkEnd, finish, work_of
from ablate.launch.interruption import Interruption
from ablate.launch.outcome import ASKED
from ablate.launch.python_path import python_path
from ablate.launch.request_folder import RequestFolder, in_order
from ablate.launch.settlement import Node, Settled, planned_memory, settled, this_node
from ablate.plan.execution import Execution
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack

_RETRIES: Final = 3  # at least, for a task whose worker or node died; it resumes from its state
_POLL: Final = 0.5  # seconds between two checks of the tasks
_GRACE: Final = 60.0  # seconds in which cancelled tasks may save their states
_LOOK: Final = 2.0  # seconds between two checks of runs that another process holds

Files = Mapping[str, bytes]  # name -> content


@dataclass(frozen=True)
class NodePlace:
    """How a task tells whether its node shares the sweep's folder.

    Attributes:
        folder: The working directory of the launching process.
        file: A file that it wrote.
        token: The file's content.
    """

    folder: str
    file: str
    token: str

    @property
    def is_shared(self) -> bool:
        """Whether the file can be read here."""
        try:
            return Path(self.file).read_text(encoding="ascii") == self.token
        except OSError:
            return False


class Ray:
    """Trains stacks as tasks of Ray.

    Args:
        how: The execution of the plan.
    """

    name = "ray"

    def __init__(self, how: Execution) -> None:
        self._how = how

    def check(self, stacks: Sequence[RunStack]) -> None:
        """Refuse to start without Ray, or without an answer from its cluster.

        Raises:
            AblateError: It says what to do.
        """
        _connected(stacks[0].runs[0].config["ray"])

    def execute(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Give all stacks to Ray; yield each as it ends."""
        import ray

        runs = in_order(self._how.runs)
        _connected(runs[0].config["ray"])
        folder = RequestFolder.of(runs)
        try:
            with folder.locked():
                folder.write_runs(runs)
            with _written(folder) as place:
                tasks = _Tasks(runs, settled(folder, _looked(runs)), place)
                yield from tasks.train(stacks, stop)
        finally:
            ray.shutdown()
        if stop.asked:
            yield StackEnd(stacks[0], ASKED)


def _connected(wanted: Config) -> None:
    """Connect to the cluster that `ray.address` names, or start one on this machine.

    Raises:
        AblateError: Ray is not installed, or nothing answers at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise AblateError("launch=ray needs Ray: pip install 'ablate-runner[ray]'") from error
    if ray.is_initialized():
        return
    address = wanted["address"]
    how: dict[str, Any] = {"address": address or "local", "log_to_driver": False}
    if not address:
        how |= {"num_cpus": cores(), "include_dashboard": False}
    try:
        if address and address != "auto" and "://" not in address:
            host, _, port = address.rpartition(":")  # Ray itself would wait for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(**how)
    except (OSError, RuntimeError, ValueError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise AblateError(
            f"no Ray cluster answers at ray.address={address}: {first}; start one with `ray start"
            " --head`, or leave ray.address out"
        ) from error


@contextmanager
def _written(folder: RequestFolder) -> Generator[NodePlace, None, None]:
    """Write a file that lets a task tell whether its node shares the folder."""
    token = secrets.token_hex(16)
    file = folder.path.resolve() / f"{token}.here"
    file.write_text(token, encoding="ascii")
    try:
        yield NodePlace(os.getcwd(), str(file), token)
    finally:
        file.unlink(missing_ok=True)


def _looked(runs: Sequence[Run]) -> Node:
    """Let a task with a stack's resources inspect the node where Ray places it."""
    import ray

    wanted = runs[0].config["ray"]
    wants = any(run.config["device"] != "cpu" for run in runs) and wanted["gpus"] != 0
    gpus = 1 if wants and _count_gpus() >= 1 else 0
    look = ray.remote(max_calls=1)(this_node).options(
        num_cpus=wanted["cpus"], num_gpus=gpus, runtime_env=_environment(None)
    )
    found: Node = ray.get(look.remote(wanted["cpus"]))
    return found if gpus else replace(found, has_gpu=False, memory=None)


def _count_gpus() -> float:
    import ray

    found: dict[str, float] = ray.cluster_resources()
    return found.get("GPU", 0)


def _environment(threads: int | None) -> dict[str, Any]:
    """Let workers import from where this process does."""
    variables = {"PYTHONPATH": python_path()}
    if "ABLATE_DATA" in os.environ:
        variables["ABLATE_DATA"] = os.environ["ABLATE_DATA"]
    if threads is not None:
        variables["OMP_NUM_THREADS"] = str(threads)
    return {"env_vars": variables}


class _Tasks:
    """The stacks of a request as tasks of Ray.

    Args:
        runs: All its runs, in the order of its folder.
        how: What was settled for them.
        place: Lets a task tell whether its node shares the folder.
    """

    def __init__(self, runs: Sequence[Run], how: Settled, place: NodePlace) -> None:
        self._runs, self._how, self._place = runs, how, place
        self._left: dict[Any, RunStack] = {}  # a task -> its stack

    def train(
        self, stacks: Sequence[RunStack], stop: Interruption
    ) -> Generator[StackEnd, None, None]:
        """Give stacks to Ray; yield each as it ends."""
        import ray

        wanted = {run.directory for stack in stacks for run in stack.runs}
        for number in range(len(self._how.stacks)):
            stack = self._how.stack(number, self._runs)
            if wanted & {run.directory for run in stack.runs}:
                self._left[self._given(stack)] = stack
        try:
            while self._left and not stop.asked:
                if stop.enough:
                    self._take_back_waiting()
                done, _ = ray.wait([*self._left], timeout=_POLL)
                for task in done:
                    stack = self._left.pop(task)
                    yield self._end(task, stack).of(stack)
        finally:
            for task in self._left:
                ray.cancel(task)  # like Ctrl-C: the states are saved
            if self._left:
                ray.wait([*self._left], num_returns=len(self._left), timeout=_GRACE)

    def _given(self, stack: RunStack) -> Any:
        """Give a stack to Ray."""
        import ray

        config = stack.runs[0].config
        # Training changes settings of the whole process, so each task gets its own.
        remote = ray.remote(max_calls=1)(trained_on_a_node).options(
            name=f"{config['name']} {stack.runs[0].key}",
            num_cpus=config["ray"]["cpus"],
            num_gpus=self._share(stack),
            max_retries=max(_RETRIES, config["retries"]),
            runtime_env=_environment(self._how.threads),
        )
        work = work_of(stack, self._how.threads)
        directories = tuple(directory.resolve() for directory in work.directories)
        return remote.remote(
            replace(work, directories=directories), self._place, [_files(d) for d in directories]
        )

    def _share(self, stack: RunStack) -> float:
        """Return the share of a GPU that a stack takes."""
        if stack.runs[0].config["device"] != "cuda":
            return 0
        asked, memory = stack.runs[0].config["ray"]["gpus"], self._how.memory
        if asked != "auto":
            return float(asked)
        if memory is None:
            return 1
        return min(1.0, -(-planned_memory(stack, memory) * 100 // memory) / 100)

    def _end(self, task: Any, stack: RunStack) -> WorkEnd:
        """Read how a task ended."""
        import ray

        try:
            end, files = ray.get(task)
        except ray.exceptions.TaskCancelledError:
            return WorkEnd(stop=ASKED)
        except ray.exceptions.RayError as error:  # after all its retries
            return self._lost(stack, error)
        if files is not None:
            _unpacked(stack, files)
        made: WorkEnd = end
        return made

    def _lost(self, stack: RunStack, error: Exception) -> WorkEnd:
        """Record that Ray gave up a task."""
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        reason = f"Ray gave up its task: {type(error).__name__}: {first}"
        lost: dict[Path, str] = {}
        for run in stack.runs:
            try:
                note_accident(run, run.directory, reason)
            except (OSError, AblateError) as wrong:
                lost[run.directory] = f"{reason}, and its record: {wrong}"
        return WorkEnd(notes=(reason,), lost=lost)

    def _take_back_waiting(self) -> None:
        """Cancel tasks that nobody is training."""
        import ray

        for task, stack in list(self._left.items()):
            if not any(record.claimed_elsewhere(run.directory) for run in stack.runs):
                ray.cancel(task)
                del self._left[task]


# -- on a node -------------------------------------------------------------------------------------


def trained_on_a_node(
    work: Work, place: NodePlace, given: Sequence[Files]
) -> tuple[WorkEnd, list[Files] | None]:
    """Train a stack in this process.

    Args:
        work: The stack, with absolute paths.
        place: Tells whether this node shares the folder.
        given: The files of each run, for a node without the folder.

    Returns:
        How it ended, and the files of each run if this node does not share the folder.
    """
    if place.is_shared:
        os.chdir(place.folder)
        return _finished_when_free(work), None
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for number, (directory, files) in enumerate(zip(work.directories, given, strict=True)):
            folder = Path(scratch, str(number), directory.name)
            folder.mkdir(parents=True)
            for name, content in files.items():
                target = folder.parent / name if name == record.LEDGER else folder / name
                target.write_bytes(content)
            folders.append(folder)
        end = finish(replace(work, directories=tuple(folders)))
        back = dict(zip(folders, work.directories, strict=True))
        end = replace(end, lost={back[there]: why for there, why in end.lost.items()})
        return end, [_files(folder) for folder in folders]


def _finished_when_free(work: Work) -> WorkEnd:
    """Train a stack. Runs that another process holds are checked again until it lets go."""
    end = finish(work)
    while end.held and end.stop is None:
        time.sleep(_LOOK)
        end = replace(end, held=()).then(finish(work))
    return end


_SENT: Final = (record.RECORD, record.CHECKPOINT, record.STATE, record.CORRECT, record.LOG)


def _files(folder: Path) -> Files:
    """Read what a run's folder holds, and the ledger of its sweep."""
    files = {name: folder / name for name in _SENT}
    files[record.LEDGER] = folder.parent / record.LEDGER
    return {name: file.read_bytes() for name, file in files.items() if file.is_file()}


def _unpacked(stack: RunStack, files: Sequence[Files]) -> None:
    """Write the files that came back from a node; the record last, since it describes the others.

    Raises:
        DiskFullError: There is no space left.
    """
    for run, found in zip(stack.runs, files, strict=True):
        run.directory.mkdir(parents=True, exist_ok=True)
        with record.claim(run.directory):
            names = [n for n in found if n not in (record.LEDGER, record.RECORD)]
            for name in (*names, record.RECORD):
                if name in found:
                    with record.replacing(run.directory / name) as file:
                        file.write(found[name])
            if record.CHECKPOINT not in found:
                (run.directory / record.CHECKPOINT).unlink(missing_ok=True)
