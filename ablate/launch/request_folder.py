"""The files of a request that a cluster trains: its runs, what was settled and what was submitted.

They lie in the sweep's `.cluster/`, in a folder named after the request, so that the same command
finds them again. They are changed only under the folder's lock. All are JSON.

    runs.json           the runs, in an order independent of the request's
    settled.json        device, stacks and threads, as the first job found them (`settlement`)
    TOKEN.json          a submission; written before the queue is asked for anything
    TOKEN.TASK.json     how one of its tasks ended, as it reported itself
    JOB_TASK.log        what it printed
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ablate import record
from ablate.config import schema
from ablate.data import Sizes
from ablate.plan.run import Run
from ablate.record.locks import acquired, lock_of

FOLDER: Final = ".cluster"
_HOW: Final = ("device", "deterministic", "stack.width", "stack.capture", "stack.compile")


@dataclass(frozen=True)
class Submission:
    """Tasks that were submitted together, as one job array.

    Attributes:
        token: Its name here, and its comment in the queue.
        tasks: For each task, the runs to train, by their places in `runs.json`.
        job: Its number in the queue; None until the queue has answered.
        cluster: ``slurm`` or ``local``.
    """

    token: str
    tasks: tuple[tuple[int, ...], ...]
    job: str | None = None
    cluster: str = "slurm"

    def named(self, task: int) -> str:
        """Return a task's name in the queue."""
        return f"{self.job}_{task}"


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended, as it reported itself.

    Attributes:
        why: ``done``; ``time`` if it reached its time limit; ``stopped`` or ``waited`` if it was
            told to stop, while it trained or while another process held its runs; ``stuck`` if it
            reached its time limit before it had trained a step; ``unfit`` if its node cannot train
            what was settled; ``full`` if the disk is full; ``died`` if a part of it reported
            nothing.
        notes: What the user should know, one sentence each.
        lost: Folder -> why its run could not even be recorded.
    """

    why: str
    notes: tuple[str, ...] = ()
    lost: Mapping[str, str] | None = None


class RequestFolder:
    """The folder of a request.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, runs: Sequence[Run]) -> RequestFolder:
        """Find the folder of a request by all its runs and the settings their numbers depend on."""
        asked = [
            [str(run.directory), run.key, *(schema.get(run.config, name) for name in _HOW)]
            for run in in_order(runs)
        ]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]
        return cls(runs[0].sweep / FOLDER / digest)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = lock_of(self.path)
        acquired(lock, wait=True)
        try:
            yield
        finally:
            lock.release()

    # -- runs --------------------------------------------------------------------------------------

    def write_runs(self, runs: Sequence[Run]) -> None:
        """Write the runs of the request, whose jobs read them from here."""
        self._write("runs.json", [asdict(run) for run in in_order(runs)])

    def runs(self) -> list[Run]:
        """Read the runs of the request."""
        return [_run(one) for one in self._read("runs.json") or []]

    # -- what was settled --------------------------------------------------------------------------

    @property
    def settled(self) -> dict[str, Any] | None:
        """What the first job settled, or None."""
        found: dict[str, Any] | None = self._read("settled.json")
        return found

    def settle(self, found: Mapping[str, Any]) -> None:
        """Write what the first job settles."""
        self._write("settled.json", found)

    # -- submissions -------------------------------------------------------------------------------

    def new(self, tasks: Sequence[Sequence[int]], cluster: str) -> Submission:
        """Record what is about to be submitted."""
        time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        made = Submission(
            f"{time}-{secrets.token_hex(4)}", tuple(map(tuple, tasks)), cluster=cluster
        )
        self.write(made)
        return made

    def write(self, one: Submission) -> None:
        """Record a submission."""
        self._write(f"{one.token}.json", asdict(one))

    def remove(self, one: Submission) -> None:
        """Forget a submission that the queue has refused."""
        (self.path / f"{one.token}.json").unlink(missing_ok=True)

    def submissions(self) -> list[Submission]:
        """Read all submissions, the oldest first."""
        found = []
        for file in sorted(self.path.glob("????????-??????-????????.json")):
            one = self._read(file.name)
            if one is not None:
                found.append(
                    Submission(**{**one, "tasks": tuple(tuple(task) for task in one["tasks"])})
                )
        return found

    def submission(self, token: str) -> Submission:
        """Read a submission."""
        return next(one for one in self.submissions() if one.token == token)

    # -- ends --------------------------------------------------------------------------------------

    def write_end(self, one: Submission, task: int, end: TaskEnd) -> None:
        """Record how a task ended."""
        self._write(f"{one.token}.{task}.json", asdict(end))

    def forget_end(self, one: Submission, task: int) -> None:
        """Forget how a task ended: it has started again."""
        (self.path / f"{one.token}.{task}.json").unlink(missing_ok=True)

    def end(self, one: Submission, task: int) -> TaskEnd | None:
        """Read how a task ended; None if it did not report."""
        return self.end_at(f"{one.token}.{task}.json")

    def end_at(self, name: str) -> TaskEnd | None:
        """Read how a task, or a part of one, ended."""
        found = self._read(name)
        return None if found is None else TaskEnd(**{**found, "notes": tuple(found["notes"])})

    def _write(self, name: str, found: Any) -> None:
        record.write_json(self.path / name, found)

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None


def in_order(runs: Sequence[Run]) -> list[Run]:
    """Sort the distinct runs of a request into the order used by its files."""
    distinct = {(str(run.directory), run.key): run for run in runs}
    return [run for _, run in sorted(distinct.items(), key=lambda item: item[0])]


def requests_below(sweep: Path) -> list[RequestFolder]:
    """List the requests of a sweep that a cluster is training."""
    return [RequestFolder(file.parent) for file in sorted(sweep.glob(f"{FOLDER}/*/runs.json"))]


def without_rerun(run: Run) -> Run:
    """Return a run as its jobs get it: one that ended in a job is not trained again by the next."""
    return replace(run, config={**run.config, "rerun": "none"})


def _run(found: Mapping[str, Any]) -> Run:
    shape = tuple(found["shape"])
    return Run(**{**found, "shape": shape, "sizes": Sizes(**found["sizes"])})
