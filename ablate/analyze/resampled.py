"""Differences over several splits of the same images, which overlap.

Two splits share images, and so their results are alike. Their spread is smaller than over
independent sets of images, and an ordinary t interval over splits misses far too often. Nadeau and
Bengio put the correlation of two splits at n_test / (n_train + n_test), which makes the variance of
the mean over n of them

    (1/n + n_test/n_train) · variance over splits

It never falls below n_test/n_train of that variance, however many splits there are. This is a
heuristic, but better than none. Runs that share a split count once, by their mean.

Source: Nadeau and Bengio 2003, Machine Learning 52, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablate.analyze import intervals
from ablate.analyze.intervals import Estimate
from ablate.analyze.spread import Array


@dataclass(frozen=True)
class Splits:
    """The splits of the runs of two arms.

    Attributes:
        x: What names the split of each of the arm's runs [n].
        y: The same for the other arm [m].
        ratio: Test images to training images.
    """

    x: Sequence[object]
    y: Sequence[object]
    ratio: float


def paired(x: Array, y: Array, splits: Splits) -> Estimate:
    """Estimate the difference of arms that share seeds and splits, x - y.

    Args:
        x: Values of an arm [n].
        y: Values of the baseline [n], run by run.
        splits: Their splits.

    Returns:
        One comparison, each array [1]. Its component is NaN with fewer than two splits.
    """
    means = _by_split(x, splits.x), _by_split(y, splits.y)
    return _corrected(intervals.paired(*means), (means[0].shape[-1],), splits.ratio)


def unpaired(x: Array, y: Array, splits: Splits) -> Estimate:
    """Estimate the difference of arms that share no runs, as `paired` does."""
    means = _by_split(x, splits.x), _by_split(y, splits.y)
    counts = tuple(one.shape[-1] for one in means)
    return _corrected(intervals.unpaired(*means), counts, splits.ratio)


def _by_split(values: Array, names: Sequence[object]) -> Array:
    """Average the values of each split, [n] -> [1, splits], in order of first appearance."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    of = np.array([places[name] for name in names], dtype=np.int64)
    return (np.bincount(of, values) / np.bincount(of))[None]


def _corrected(estimate: Estimate, counts: Sequence[int], ratio: float) -> Estimate:
    components = tuple(
        replace(part, variance=part.variance * (1 + n * ratio))
        for part, n in zip(estimate.components, counts, strict=True)
    )
    return replace(estimate, components=components)
