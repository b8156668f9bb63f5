"""Spreads work over the cores, in other processes and in this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from ablate import environment

Part = TypeVar("Part")
Result = TypeVar("Result")

_MOST = 8  # processes; each takes half a second to start, and memory


def spread_out(
    work: Callable[[Part], Result], parts: Sequence[Part], cores: int | None = None
) -> list[Result]:
    """Do work on all parts: others take them from the front, this process from the back.

    So nobody waits while the others start. What a process was doing that was killed is done here.

    Args:
        work: Takes a part; a function of a module, as other processes import it.
        parts: What to work on.
        cores: How many to use; all that this process may, by default.

    Returns:
        What the work returned, in the order of the parts.
    """
    others = min(cores or environment.cores(), _MOST, len(parts)) - 1
    if others < 1:
        return [work(part) for part in parts]
    # Imported here, since few reports have so many runs.
    from joblib.externals.loky.process_executor import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=others) as pool:
        asked = [pool.submit(work, part) for part in parts]
        mine: dict[int, Result] = {}
        for i in reversed(range(len(parts))):
            if asked[i].cancel():  # none of the others has begun it
                mine[i] = work(parts[i])
        return [
            mine[i] if i in mine else _result(one, work, parts[i]) for i, one in enumerate(asked)
        ]


def _result(asked: Any, work: Callable[[Part], Result], part: Part) -> Result:
    try:
        found: Result = asked.result()
    except BrokenProcessPool:
        return work(part)
    return found
