"""The measures of one run: what its record holds, and what follows from it.

`ablate.metrics` lists and explains them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.measure import after_training
from ablate.metrics import TARGET, find

if TYPE_CHECKING:
    import pandas as pd

Entry = Mapping[str, Any]  # one epoch of a record's history


def measure(found: Mapping[str, Any], target: float | None = None) -> dict[str, float]:
    """Measure a run.

    Args:
        found: Its record.
        target: Validation error to reach, a fraction; without one there is no `epochs_to_target`.

    Returns:
        All numbers by name, NaN for missing ones; errors and accuracies are fractions.
    """
    history, metrics = found["history"], found["metrics"]
    seconds = float(sum(found["timing"]["seconds"]))
    best = metrics.get("epochs_to_best") or best_epoch(history)
    return {
        **{name: _number(value) for name, value in metrics.items()},
        "epochs_to_best": _number(best),
        **({} if target is None else {TARGET: epochs_to(history, target)}),
        "val/error_lowest": lowest(history),
        "val/error_area": area(history),
        "val/error_spread": spread(history),
        "seconds": seconds,
        "images_per_second": _images(found) / seconds if seconds > 0 else math.nan,
        **{name: _number(value) for name, value in after_training.numbers(found).items()},
    }


def metrics_of(runs: pd.DataFrame) -> list[str]:
    """List the columns of a runs frame that hold a metric with at least one value.

    Any column with a slash is a metric: a record may hold some that this version does not know.
    """
    named = [name for name in map(str, runs) if "/" in name or find(name) is not None]
    return [name for name in named if runs[name].notna().any()]


# -- from the history ------------------------------------------------------------------------------


def best_epoch(history: Sequence[Entry]) -> int | None:
    """Find the first epoch of the lowest validation error, or None without validation."""
    error = _errors(history)
    if np.isnan(error).all():
        return None
    return int(history[int(np.nanargmin(error))]["epoch"])


def epochs_to(history: Sequence[Entry], target: float) -> float:
    """Find the first epoch with a validation error of at most the target, or NaN if none has it."""
    reached = np.flatnonzero(_errors(history) <= target)
    return float(history[reached[0]]["epoch"]) if len(reached) else math.nan


def lowest(history: Sequence[Entry]) -> float:
    """Find the lowest validation error, a fraction, or NaN without validation."""
    error = _errors(history)
    return math.nan if np.isnan(error).all() else float(np.nanmin(error))


def area(history: Sequence[Entry]) -> float:
    """Compute the area under the validation error's curve, divided by its width in epochs.

    By trapezoids between epochs; for a single epoch, its error. NaN if an epoch has none.
    """
    error = _errors(history)
    if len(error) < 2:
        return float(error[0]) if len(error) else math.nan
    epoch = np.array([entry["epoch"] for entry in history], dtype=float)
    trapezoids = np.diff(epoch) * (error[1:] + error[:-1]) / 2
    return float(trapezoids.sum() / (epoch[-1] - epoch[0]))


def spread(history: Sequence[Entry]) -> float:
    """Compute the standard deviation of the validation error over the last quarter of the epochs.

    A fraction, with n - 1; NaN below five epochs, whose last quarter is a single epoch.
    """
    last = _errors(history)[-math.ceil(len(history) / 4) :]
    return float(last.std(ddof=1)) if len(last) >= 2 else math.nan


def _errors(history: Sequence[Entry]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return 1 - np.array([entry.get("val/accuracy") for entry in history], dtype=float)


def _images(found: Mapping[str, Any]) -> float:
    """Count the images seen in training: a batch at each step."""
    history = found["history"]
    return float(history[-1]["step"] * found["config"]["batch_size"]) if history else math.nan


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
