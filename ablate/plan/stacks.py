"""Groups runs into stacks. Pure, so that it can be printed and tested without training.

Runs stack if they agree on every graph knob and on the data. How a stack is applied, and how wide
it is, depends only on the device and the size of the network, never on what is left to do, so that
a resumed sweep has the same stacks.

    device   network                                    applied   width
    cuda     any that can be batched                    fused     at most 32, if they fit
    cpu      up to 2^17 multiply-adds per image          fused     at most 16
    cpu      larger, or one of the user's own           looped    1

Measured on 2 cores with 8 x 8 digits: below 2^17 multiply-adds, 16 fused runs trained 1.4 to 4
times as fast as one after another; above, slower or hardly faster. A single run is never fused, so
that `ablate run` gives the bits of a plain module.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ablate.config import schema
from ablate.config.effect import SOLVERS
from ablate.errors import AblateError
from ablate.nets.shapes import multiply_adds
from ablate.plan.run import Run
from ablate.train.footprint import (
    UNCERTAINTY,
    Footprint,
    footprint,
    least_at_once,
    runs_at_once,
)

_FUSED_ON_A_CPU = 2**17  # multiply-adds per image
_WIDTH = {"cpu": 16, "cuda": 32}
_WHERE = ("device", "stack.width", "stack.capture", "stack.compile", "deterministic")


@dataclass(frozen=True)
class RunStack:
    """Runs that are trained at once.

    Attributes:
        runs: Its runs, finished or not.
        fused: Whether the networks are applied under vmap.
        why: Why the stack is as it is, in a few words.
    """

    runs: tuple[Run, ...]
    fused: bool
    why: str


def group(runs: Sequence[Run], memory: int | None = None) -> list[RunStack]:
    """Put every distinct run into exactly one stack.

    Args:
        runs: Planned runs; duplicates (by key and folder) count once.
        memory: The device's memory in bytes, if stacks must fit into it.

    Returns:
        Stacks in the order of their first runs' keys, independent of the order of the request.

    Raises:
        AblateError: Even a single run is certain not to fit into that memory.
    """
    distinct = {(str(run.directory), run.key): run for run in runs}
    alike: dict[str, list[Run]] = {}
    for _, run in sorted(distinct.items(), key=lambda item: item[0]):
        alike.setdefault(graph_of(run), []).append(run)
    return [stack for members in alike.values() for stack in _cut(members, memory)]


def graph_of(run: Run) -> str:
    """Collect everything that must agree within a stack."""
    flat = schema.flatten(run.config)
    where = {name: flat.get(name) for name in _WHERE}
    return json.dumps([run.digest, schema.graph(run.config), where], sort_keys=True)


def _cut(members: list[Run], memory: int | None) -> list[RunStack]:
    _check_one_fits(members, memory)
    fused, why = _applied(members)
    wish = members[0].config["stack"]["width"]
    width = _widest(members, memory) if wish == "auto" else wish
    if not fused:
        return [RunStack((run,), False, why) for run in members]
    # Equal stacks, not full ones and a remainder, so that workers end at about the same time.
    count = -(-len(members) // width)
    size, more = divmod(len(members), count)
    stacks, start = [], 0
    for number in range(count):
        end = start + size + (number < more)
        stacks.append(RunStack(tuple(members[start:end]), True, why))
        start = end
    return [s if len(s.runs) > 1 else RunStack(s.runs, False, "a stack of one") for s in stacks]


def _widest(members: Sequence[Run], memory: int | None) -> int:
    most = _WIDTH[members[0].config["device"]]
    if memory is None or members[0].config["model"]["name"] == "custom":
        return most  # a stack that turns out too wide is halved
    configs, images = [run.config for run in members], members[0].images.within(memory)
    for width in range(min(most, len(members)), 1, -1):
        least = least_at_once(width)
        if footprint(configs, images, width, fused=True, at_once=least).fits(memory):
            return width
    return 1


def _check_one_fits(members: Sequence[Run], memory: int | None) -> None:
    """Refuse runs that do not fit even alone; if in doubt, let them try.

    Raises:
        AblateError: A run's estimate exceeds the memory by more than the estimate's error.
    """
    run = members[0]
    if memory is None or run.config["model"]["name"] == "custom":
        return
    images = run.images.within(memory)
    one = footprint([run.config], images, 1, fused=False, at_once=1)
    if one.tensors * (1 - UNCERTAINTY) > memory:
        name, size = one.dominant
        raise AblateError(
            f"a run of model={run.config['model']['name']} with"
            f" batch_size={run.config['batch_size']} needs about {one.tensors / 2**30:,.1f} GiB"
            f" ({name}: {size / 2**30:,.1f}), and the GPU has {memory / 2**30:,.1f}:"
            f" {_LESS.get(name, _LESS_OF_A_STEP)}, or device=cpu"
        )


_LESS_OF_A_STEP = "take a smaller batch_size, a smaller model or precision=bf16"
_LESS = {  # by the largest item
    **dict.fromkeys(("data", "order", "drawing"), "take fewer images (data.train_size)"),
    **dict.fromkeys(("weights", "optimizer", "average"), "take a smaller model"),
    "evaluation": "take a smaller model or smaller images (data.image_size)",
}


def footprint_of(stack: RunStack, memory: int | None) -> tuple[Footprint, int] | None:
    """Estimate a stack's memory on a GPU, and how many runs are evaluated at a time.

    Returns:
        Both; None for a user's own network, for which there is no estimate.
    """
    configs, images = [run.config for run in stack.runs], stack.runs[0].images.within(memory)
    if configs[0]["model"]["name"] == "custom":
        return None
    at_once = runs_at_once(configs, images, fused=stack.fused, memory=memory)
    width = len(configs)
    return footprint(configs, images, width, fused=stack.fused, at_once=at_once), at_once


def _applied(members: list[Run]) -> tuple[bool, str]:
    config, run = members[0].config, members[0]
    if config["optimizer"]["name"] in SOLVERS:
        return False, f"optimizer={config['optimizer']['name']} finds its own steps"
    if len(members) == 1:
        return False, "nothing to share a stack with"
    if config["stack"]["width"] == 1:
        return False, "stack.width=1"
    if run.alone:
        return False, f"cannot be batched: {run.alone}"
    if config["device"] == "cuda":
        return True, "fused on a GPU"
    if config["model"]["name"] == "custom":
        return False, "your own network, on a CPU"
    cost = multiply_adds(config["model"], run.shape, run.classes)
    if cost <= _FUSED_ON_A_CPU or config["stack"]["width"] != "auto":
        return True, f"{cost:,} multiply-adds per image"
    return False, f"{cost:,} multiply-adds per image: arithmetic is the limit on a CPU"
