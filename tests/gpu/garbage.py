"""Lets commands finish with the meaningless numbers that a fake device returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from ablate.measure import signals
from ablate.train.course import Course


def accept_garbage() -> None:
    """Patch this process for good.

    No loss ends a run, every matrix has eigenvectors, every sum of squares has a root, and every
    minimum is below its maximum.
    """
    Course.goes_on = property(lambda self: True)
    torch.linalg.eigh = lambda matrix: (matrix.diagonal(), torch.eye(len(matrix)).to(matrix))
    histogram = signals.histogram
    signals.histogram = lambda values, *ends: histogram(values, *sorted(ends))
    signals.spread = _or(signals.spread, (math.nan, math.nan))
    signals.norm = _or(signals.norm, math.nan)


def _or(work: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
    """Wrap a function: it returns `otherwise` instead of raising a ValueError."""

    def done(*arguments: Any) -> Any:
        with suppress(ValueError):
            return work(*arguments)
        return otherwise

    return done
