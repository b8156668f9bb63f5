"""What a cluster's queue says about the runs of a sweep that nobody is training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablate.launch.request_folder import FOLDER, RequestFolder
from ablate.launch.slurm_queue import TaskState, UnreachableError, queue_of


@dataclass(frozen=True)
class Waiting:
    """A run that was submitted.

    Attributes:
        kind: ``queued`` if a job has it, ``lost`` if none has it any more, ``unknown`` if the queue
            does not answer.
        reason: What the queue says, with the job's name.
    """

    kind: Literal["queued", "lost", "unknown"]
    reason: str


def in_queue(path: Path) -> dict[Path, Waiting]:
    """Ask the queues about all submitted runs of the sweeps at or below a path.

    Returns:
        Folder of a run -> what the queue says, whether or not the run has ended.
    """
    found: dict[Path, Waiting] = {}
    above = [path, *path.parents[:1]] if (path.parent / FOLDER).is_dir() else [path]
    files = {file for place in above for file in place.glob(f"**/{FOLDER}/*/runs.json")}
    for file in sorted(files):
        found |= _of_request(RequestFolder(file.parent))
    return found


def _of_request(folder: RequestFolder) -> dict[Path, Waiting]:
    sweep = folder.path.parents[1]
    places = [sweep.parent / str(run.config["name"]) / run.key for run in folder.runs()]
    found: dict[Path, Waiting] = {}
    for one in folder.submissions():
        try:
            states = {} if one.job is None else queue_of(one.cluster).states(one)
        except UnreachableError as error:
            words = str(error).strip()
            unknown = Waiting("unknown", f"the queue does not answer: {words}")
            found |= {places[p]: unknown for task in one.tasks for p in task if p < len(places)}
            continue
        for number, task in enumerate(one.tasks):
            state = states.get(number, TaskState(""))
            waiting = Waiting(
                "queued" if state.is_there else "lost", f"job {one.named(number)}: {state}"
            )
            for place in (places[p] for p in task if p < len(places)):
                # The latest submission counts, unless an earlier job is still there.
                if place not in found or found[place].kind != "queued":
                    found[place] = waiting
    return found
