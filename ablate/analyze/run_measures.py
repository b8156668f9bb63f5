"""Measures of one run: what its record holds, and what follows from its history.

Recorded (`ablate.metrics`): loss (mean negative log likelihood in nats), accuracy, error, expected
calibration error `ece` and Brier score, of each split; the gaps between training and test; the
best epoch `epochs_to_best`. Worked out here, all on the validation split, so that none of them can
be used to choose by the test set:

`val/error_lowest`    lowest error of any epoch
`val/error_area`      area under the error's curve, as its mean height: low where learning is fast
`val/error_spread`    standard deviation of the error over the last quarter of the epochs: stability
`epochs_to_target`    first epoch whose error is at most a target
`images_per_second`   training images passed, over seconds of training alone

Names with a slash are measured of a split; all columns of the runs frame that `metrics_of` lists
can be compared between arms, `parameters` among them, though seeds agree on that and test nothing.
What is measured after training (``evaluate/...``, ``inspect/...``) is listed in
`ablate.analyze.after_training`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.integrate import trapezoid

from ablate.analyze.after_training import measured

if TYPE_CHECKING:
    import pandas as pd

Entry = Mapping[str, Any]  # of a record's history: one epoch

UNSPLIT = ("epochs_to_best", "epochs_to_target", "seconds", "images_per_second", "parameters")
_LOWER = ("loss", "error", "ece", "brier", "error_lowest", "error_area", "error_spread")


def measure(found: Mapping[str, Any], target: float | None = None) -> dict[str, float]:
    """Measure a run.

    Args:
        found: Its record.
        target: Validation error to reach, a fraction; without one there is no `epochs_to_target`.

    Returns:
        Every number by name, NaN where there is none: errors and accuracies as fractions.
    """
    history, metrics = found["history"], found["metrics"]
    seconds = float(sum(found["timing"]["seconds"]))
    best = metrics.get("epochs_to_best") or best_epoch(history)
    return {
        **{name: _number(value) for name, value in metrics.items()},
        "epochs_to_best": _number(best),
        **({} if target is None else {"epochs_to_target": epochs_to(history, target)}),
        "val/error_lowest": lowest(history),
        "val/error_area": area(history),
        "val/error_spread": spread(history),
        "seconds": seconds,
        "images_per_second": _images(found) / seconds if seconds > 0 else math.nan,
        **{name: _number(value) for name, value in measured(found).items()},
    }


def metrics_of(runs: pd.DataFrame) -> list[str]:
    """List the columns of a runs frame that hold a measure of which some run has a value."""
    named = [name for name in runs if "/" in str(name) or name in UNSPLIT]
    return [str(name) for name in named if runs[name].notna().any()]


def better(metric: str) -> str | None:
    """Say which way is better: ``lower``, ``higher``, or None where the question decides.

    A gap has no better side: it shrinks with less overfitting and with less fitting alike.
    """
    leaf = metric.rpartition("/")[2]
    if leaf in _LOWER or metric in ("seconds", "epochs_to_target"):
        return None if metric.startswith("gap/") else "lower"
    higher = leaf == "accuracy" and not metric.startswith("gap/")
    return "higher" if higher or metric == "images_per_second" else None


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
    """Work out the area under the validation error's curve over its width in epochs, a fraction.

    Trapezoids between epochs; of a single epoch, its error. NaN where an epoch has none.
    """
    error = _errors(history)
    if len(error) < 2:
        return float(error[0]) if len(error) else math.nan
    epoch = np.array([entry["epoch"] for entry in history], dtype=float)
    return float(trapezoid(error, epoch) / (epoch[-1] - epoch[0]))


def spread(history: Sequence[Entry]) -> float:
    """Work out the standard deviation of the validation error over the last quarter of the epochs.

    A fraction, with n - 1; NaN below five epochs, whose last quarter is a single one.
    """
    last = _errors(history)[-math.ceil(len(history) / 4) :]
    return float(last.std(ddof=1)) if len(last) >= 2 else math.nan


def _errors(history: Sequence[Entry]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return 1 - np.array([entry.get("val/accuracy") for entry in history], dtype=float)


def _images(found: Mapping[str, Any]) -> float:
    """Count the images that training passed: all steps, a batch each."""
    history = found["history"]
    return float(history[-1]["step"] * found["config"]["batch_size"]) if history else math.nan


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
