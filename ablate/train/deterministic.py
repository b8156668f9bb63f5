"""Restricts torch to algorithms that give the same bits each time they are executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Have torch use deterministic algorithms inside this context, and refuse operations without.

    torch is called only if the setting must change: the call makes it import its compiler, which
    takes two seconds.
    """
    if not wanted or torch.are_deterministic_algorithms_enabled():
        yield
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
