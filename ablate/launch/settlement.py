"""What the first job of a request finds on its node, and all later jobs follow.

A run's numbers depend on the device, the threads, whether it is fused and, on a GPU, the width of
its stack. A cluster's nodes differ, and the submitting machine is not one of them. So the first job
settles all four for the whole request, and writes them down under the lock of the request's folder.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ablate import environment
from ablate.environment import cores
from ablate.errors import AblateError
from ablate.launch.request_folder import RequestFolder
from ablate.plan.run import Run
from ablate.plan.stacks import RunStack, footprint_of, group


@dataclass(frozen=True)
class SettledStack:
    """A stack: its runs by their places in the request, and how it is applied."""

    runs: tuple[int, ...]
    fused: bool
    device: str


@dataclass(frozen=True)
class Settled:
    """The settings shared by all jobs of a request.

    Attributes:
        stacks: All stacks.
        threads: Torch threads for each stack.
        lanes: How many stacks a job trains at a time.
        memory: Memory of a GPU in bytes, or None.
        by: Who settled it, for messages.
    """

    stacks: tuple[SettledStack, ...]
    threads: int
    lanes: int
    memory: int | None
    by: str

    def stack(self, number: int, runs: Sequence[Run]) -> RunStack:
        """Return a stack with its runs on the settled device."""
        one = self.stacks[number]
        members = tuple(runs[place].on(one.device) for place in one.runs)
        return RunStack(members, one.fused, "as settled")


@dataclass(frozen=True)
class Node:
    """What a job finds.

    Attributes:
        has_gpu: Whether torch finds a GPU.
        memory: Memory in bytes of the smallest GPU, or None.
        cores: How many cores the job has.
    """

    has_gpu: bool
    memory: int | None
    cores: int


def this_node(asked: int) -> Node:
    """Inspect this node.

    On a cluster that does not bind jobs to cores, assume as many as asked for.

    Args:
        asked: How many cores the job asked for.
    """
    found = environment.cuda()
    return Node(found.count > 0, found.memory, max(1, min(asked, cores())))


def settled(folder: RequestFolder, node: Node, *, lanes: int | str = 1) -> Settled:
    """Read what was settled; the first job settles it.

    Args:
        folder: The request's folder.
        node: What this job finds.
        lanes: How many stacks a job trains at a time; ``auto``: as many as a GPU has room for.

    Raises:
        AblateError: A GPU is needed, and there is none here.
    """
    with folder.locked():
        found = folder.settled
        if found is None:
            made = _settle(folder.runs(), node, lanes)
            folder.settle(asdict(made))
            return made
    made = read(found)
    if any(stack.device == "cuda" for stack in made.stacks) and not node.has_gpu:
        raise AblateError(
            f"the request trains on a GPU, as settled on {made.by}, but torch finds none on"
            f" {platform.node()}"
        )
    return made


def read(found: dict[str, Any]) -> Settled:
    """Read what was settled from its file."""
    stacks = tuple(
        SettledStack(tuple(one["runs"]), one["fused"], one["device"]) for one in found["stacks"]
    )
    return Settled(**{**found, "stacks": stacks})


def _settle(runs: Sequence[Run], node: Node, lanes: int | str) -> Settled:
    if not node.has_gpu and any(run.config["device"] == "cuda" for run in runs):
        raise AblateError(
            f"device=cuda: torch finds no CUDA device on {platform.node()}; ask for GPUs, or use"
            " device=auto or device=cpu"
        )
    here = [run.on("cuda" if _wants_gpu(run) and node.has_gpu else "cpu") for run in runs]
    places = {(str(run.directory), run.key): place for place, run in enumerate(here)}
    by_device: dict[str, list[Run]] = {}
    for run in here:
        by_device.setdefault(run.config["device"], []).append(run)
    grouped = [
        (stack, device)
        for device, members in by_device.items()
        for stack in group(members, node.memory if device == "cuda" else None)
    ]
    stacks = tuple(
        SettledStack(
            tuple(places[str(run.directory), run.key] for run in stack.runs), stack.fused, device
        )
        for stack, device in grouped
    )
    count = lanes if isinstance(lanes, int) else _room([s for s, _ in grouped], node)
    by = f"{platform.node()} (process {os.getpid()})"
    return Settled(stacks, max(1, node.cores // count), count, node.memory, by)


def _wants_gpu(run: Run) -> bool:
    return run.config["device"] in ("auto", "cuda")


def planned_memory(stack: RunStack, memory: int) -> int:
    """Plan how much of a GPU a stack takes, in bytes; all of it without an estimate."""
    found = footprint_of(stack, memory)
    return memory if found is None else min(memory, found[0].tensors + found[0].allowance)


def _room(stacks: Sequence[RunStack], node: Node) -> int:
    """Count the stacks that fit on a GPU at a time, at most one per core."""
    if node.memory is None:
        return 1
    most = max(
        (planned_memory(s, node.memory) for s in stacks if s.runs[0].config["device"] == "cuda"),
        default=node.memory,
    )
    return max(1, min(node.cores, node.memory // most))
