"""What became of runs: which trained, which did not, and which tell nothing.

A run that diverged, or whose validation accuracy stayed at chance, did not train. That is a bad
outcome for its arm, but not a number to average with others: such runs are in no mean, their share
is reported, and a contrast with such runs says which side is better but not by how much. A run that
*failed* (out of memory, a full disk) says nothing about its arm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ablate.analyze.spread import Array
from ablate.metrics import metric_of

if TYPE_CHECKING:  # processes that read records start without it
    import pandas as pd

CHANCE_LEVEL = 0.001  # of the test that a run's accuracy is above chance


def is_at_chance(accuracy: float, images: int, share: float) -> bool:
    """Tell whether an accuracy is no better than always naming the largest class.

    An exact one-sided binomial test at 0.001: by chance alone, one run in a thousand would do as
    well.

    Args:
        accuracy: On the validation images, a fraction; NaN is not at chance.
        images: How many images.
        share: Of the largest class among them, in (0, 1].

    Example:
        >>> is_at_chance(0.12, 500, share=0.1), is_at_chance(0.2, 500, share=0.1)
        (True, False)
    """
    if math.isnan(accuracy):
        return False
    correct = round(accuracy * images)
    by_chance = 1.0 if correct == 0 else special.bdtrc(correct - 1, images, share)
    return bool(by_chance >= CHANCE_LEVEL)


def trained(runs: pd.DataFrame, metric: str) -> NDArray[np.bool_]:
    """Tell which runs of a frame enter the mean of a metric [runs]."""
    finished = (runs["status"] == "finished").to_numpy()
    return finished & ~_at_chance(runs) if metric_of(metric).is_of_learning else finished


def untrained(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which runs of a frame diverged or stayed at chance [runs]."""
    finished = (runs["status"] == "finished").to_numpy()
    return (runs["status"] == "diverged").to_numpy() | (finished & _at_chance(runs))


def values_of(runs: pd.DataFrame, metric: str) -> Array:
    """Return each run's value of a metric [runs].

    Returns:
        NaN for none. For metrics of what was learned, a run that did not train has the worst
        possible value, ±inf (+inf if neither side is better, where the sign does not matter).
    """
    if metric not in runs:
        return np.full(len(runs), np.nan)
    values = runs[metric].to_numpy(np.float64, na_value=np.nan)
    values = np.where(trained(runs, metric), values, np.nan)
    about = metric_of(metric)
    if not about.is_of_learning:
        return values
    return np.where(untrained(runs), -np.inf if about.better == "higher" else np.inf, values)


def trained_alone(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which runs are known to have been trained alone [runs]."""
    if "trained_alone" not in runs:
        return np.zeros(len(runs), dtype=bool)
    return runs["trained_alone"].fillna(False).to_numpy(dtype=bool)


def share_interval(count: Array, total: Array, alpha: float = 0.05) -> tuple[Array, Array]:
    """Compute the exact interval of a share, at 1 - α.

    Args:
        count: How many [...].
        total: Out of how many [...], > 0.
        alpha: How often the interval may miss.

    Returns:
        Its lower and upper ends, in [0, 1].

    Source: Clopper and Pearson 1934, Biometrika 26.
    """
    low = special.betaincinv(np.maximum(count, 1), total - count + 1, alpha / 2)
    high = special.betaincinv(count + 1, np.maximum(total - count, 1), 1 - alpha / 2)
    return np.where(count == 0, 0.0, low), np.where(count == total, 1.0, high)


def _at_chance(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which runs stayed at chance; none if a frame of an earlier version does not say."""
    if "at_chance" not in runs:
        return np.zeros(len(runs), dtype=bool)
    return runs["at_chance"].fillna(False).to_numpy(dtype=bool)
