"""How long the properties are tried, and from which seed: a few turns in `make test`, and as many
as fit into FUZZ_SECONDS in `make fuzz`. FUZZ_ONLY tries a single turn again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

MILLION = 10**6
SEED = os.environ.get("FUZZ_SEED", "0")
_SECONDS = os.environ.get("FUZZ_SECONDS")
_ONLY = os.environ.get("FUZZ_ONLY")


def turns(first: int, few: int, share: float) -> Iterator[int]:
    """Number the turns of a property.

    Args:
        first: Number of the first one, a multiple of a million.
        few: How many there are in `make test`.
        share: Share of the time in `make fuzz`.
    """
    if _ONLY is not None:
        if first <= int(_ONLY) < first + MILLION:
            yield int(_ONLY)
        return
    if _SECONDS is None:
        yield from range(first, first + few)
        return
    end, number = time.monotonic() + share * float(_SECONDS), first
    while time.monotonic() < end:
        yield number
        number += 1


def again(number: int) -> str:
    """Say how to try a turn again."""
    return f"FUZZ_SEED={SEED} FUZZ_ONLY={number} make fuzz"
