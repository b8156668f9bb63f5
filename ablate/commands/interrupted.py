"""How a command ends when it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ablate.launch.interruption import INTERRUPTED


def until_interrupted(work: Callable[[], int], told: str = "interrupted") -> int:
    """Do a command's work; if it is interrupted, say so on standard error.

    Args:
        work: Does the work, and returns the exit status.
        told: The message after an interruption.

    Returns:
        The exit status.
    """
    try:
        return work()
    except KeyboardInterrupt:
        print(f"ablate: {told}", file=sys.stderr)
        return INTERRUPTED
