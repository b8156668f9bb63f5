"""Estimates the cost of a sweep from a few real steps of each kind of stack."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from joblib.externals.loky.process_executor import ProcessPoolExecutor

from ablate import data
from ablate.plan.execution import Execution
from ablate.plan.stacks import RunStack, graph_of
from ablate.train.memory import keep_freed_memory, peak
from ablate.train.training import Training

_WARM, _TIMED = 5, 8  # steps; on a GPU, the fourth is captured


@dataclass(frozen=True)
class Cost:
    """The cost of all stacks of one kind.

    Attributes:
        stacks: Number of stacks.
        width: Runs in each.
        seconds: Time of one step.
        steps: Steps of a run.
        memory: Peak memory in bytes.
    """

    stacks: int
    width: int
    seconds: float
    steps: int
    memory: int


def costs(stacks: Sequence[RunStack], how: Execution) -> list[Cost]:
    """Measure one stack of each kind.

    The time covers training steps only; start-up, evaluation and records come on top. On a CPU each
    kind is measured in its own process, whose memory is then what a worker would use.
    """
    kinds: dict[tuple[str, bool, int], list[RunStack]] = {}
    for stack in stacks:
        kinds.setdefault((graph_of(stack.runs[0]), stack.fused, len(stack.runs)), []).append(stack)
    return [
        Cost(len(members), width, *_measured(members[0], how))
        for (_, _, width), members in kinds.items()
    ]


def _measured(stack: RunStack, how: Execution) -> tuple[float, int, int]:
    if stack.runs[0].config["device"] == "cuda":
        return measure(stack, how.threads)
    with ProcessPoolExecutor(max_workers=1) as process:
        found: tuple[float, int, int] = process.submit(measure, stack, how.threads).result()
    return found


def measure(stack: RunStack, threads: int | None) -> tuple[float, int, int]:
    """Train a few steps of a stack in this process, and evaluate once.

    Args:
        stack: A stack.
        threads: Torch threads; None leaves the number as it is.

    Returns:
        Seconds per step, steps of a run, and peak memory in bytes: of the process on a CPU, of the
        device on a GPU.
    """
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    config = stack.runs[0].config
    cuda = config["device"] == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    tensors = data.load(config, stack.runs[0].digest)
    training = Training([run.config for run in stack.runs], tensors, fused=stack.fused)
    for _ in range(min(_WARM, training.steps)):
        training.advance()
    if cuda:
        torch.cuda.synchronize()
    count = min(_TIMED, training.steps - training.step)
    start = time.perf_counter()
    for _ in range(count):
        training.advance()
    if cuda:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / max(count, 1)
    training.scores.rehearse()
    if cuda:
        return seconds, training.steps, torch.cuda.max_memory_reserved()
    return seconds, training.steps, peak()
