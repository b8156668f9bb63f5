"""Which values are compared: an arm's with the baseline's, or what a claim asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate.analyze import crossed, outcomes
from ablate.analyze.answers import Answers
from ablate.analyze.crossed import OverImages
from ablate.analyze.resampled import Splits
from ablate.analyze.spread import Array
from ablate.metrics import TIMES, metric_of
from ablate.study.claim import Compared

SEEDS, SEEDS_AND_IMAGES = "seeds", "seeds and images"  # populations
Rows = NDArray[np.int64]  # of the runs frame
_OF_IMAGES = ("test/error", "test/accuracy")  # means over the test images


@dataclass(frozen=True)
class Pair:
    """The values that are compared, of two arms and one metric, or two.

    Attributes:
        what: What is compared with what.
        x: Values of the arm [n]; the worst possible, ±inf, for a run that did not train.
        y: Values of the other [m]; if paired, of the same replicates in the same order.
        paired: Whether they share replicates.
        over_images: What new test images add, if both are means over the same images and every run
            kept its answers.
        splits: How the runs were split, where that varies and the metric depends on it.
        independent: Whether the values are independent; times of runs not trained alone are not.
    """

    what: Compared
    x: Array
    y: Array
    paired: bool
    over_images: OverImages | None = None
    splits: Splits | None = None
    independent: bool = True

    @property
    def all_trained(self) -> bool:
        """Whether every run of both sides trained."""
        return bool(np.isfinite(self.x).all() and np.isfinite(self.y).all())

    @property
    def population(self) -> str:
        """What the difference generalizes to: new seeds on this test set, or new images too."""
        several = min(len(self.x), len(self.y)) > 1
        return SEEDS_AND_IMAGES if self.over_images is not None and several else SEEDS


def pairs_of(
    runs: pd.DataFrame, base: str, metrics: Sequence[str], others: Sequence[Compared] = ()
) -> list[Pair]:
    """Collect the values of every comparison, metric by metric.

    Args:
        runs: The runs frame, one row a run.
        base: The baseline's name.
        metrics: Columns; one missing from the frame has no values.
        others: Further comparisons of these metrics.

    Returns:
        One pair per metric and arm other than the baseline, of runs that finished with the metric
        or did not train; then one for each of the others.
    """
    values = np.stack([outcomes.values_of(runs, metric) for metric in metrics], -1)
    members: dict[str, list[tuple[str, int]]] = {}
    for i, (arm, replicate) in enumerate(zip(runs["arm"], runs["replicate"], strict=True)):
        members.setdefault(str(arm), []).append((str(replicate), i))
    arms = [arm for arm in members if arm != base]
    wanted = [Compared(arm, metric, base, metric) for metric in metrics for arm in arms]
    sides = dict.fromkeys((one.arm, one.against) for one in (*wanted, *others))
    lined_up = {(a, b): _lined_up(members.get(a, []), members.get(b, [])) for a, b in sides}
    place = {metric: m for m, metric in enumerate(metrics)}
    of_runs = _OfRuns(runs)
    alone = outcomes.trained_alone(runs)
    pairs = []
    for one in (*wanted, *others):
        mine, theirs, paired = lined_up[one.arm, one.against]
        x, y = values[mine, place[one.metric]], values[theirs, place[one.against_metric]]
        there = [~np.isnan(x), ~np.isnan(y)]
        if paired:
            there = [there[0] & there[1]] * 2
        mine_kept, theirs_kept = np.array(mine)[there[0]], np.array(theirs)[there[1]]
        timed = one.metric in TIMES or one.against_metric in TIMES
        independent = not timed or bool(alone[mine_kept].all() and alone[theirs_kept].all())
        pair = Pair(one, x[there[0]], y[there[1]], paired, independent=independent)
        pairs.append(of_runs.told(pair, mine_kept, theirs_kept))
    return pairs


def _is_of_images(what: Compared) -> bool:
    return what.metric == what.against_metric in _OF_IMAGES and what.statistic == "mean"


def _depends_on_the_split(what: Compared) -> bool:
    return metric_of(what.metric).is_of_learning and what.statistic == "mean"


class _OfRuns:
    """What is known of runs beyond one number each: the images they got right, and their splits."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self._answers = Answers(runs)
        self._split = runs["seeds.split"].tolist() if "seeds.split" in runs else None
        self._runs = runs
        self._known: dict[tuple[bytes, bytes], OverImages | None] = {}

    def told(self, pair: Pair, mine: Rows, theirs: Rows) -> Pair:
        """Add to a pair what is known of its runs, given as rows of the frame."""
        if _depends_on_the_split(pair.what) and (splits := self._splits(mine, theirs)):
            return replace(pair, splits=splits)
        if _is_of_images(pair.what) and pair.all_trained:
            return replace(pair, over_images=self._over_images(mine, theirs, pair.paired))
        return pair

    def _over_images(self, mine: Rows, theirs: Rows, paired: bool) -> OverImages | None:
        """Compare the answers of two arms; they are the same for error and accuracy."""
        which = mine.tobytes(), theirs.tobytes()
        if which not in self._known:
            found = self._answers.of(mine.tolist(), theirs.tolist())
            compare = crossed.paired if paired else crossed.unpaired
            self._known[which] = None if found is None else compare(*found)
        return self._known[which]

    def _splits(self, mine: Rows, theirs: Rows) -> Splits | None:
        """Return the splits of two arms; None if all runs have the same."""
        if self._split is None:
            return None
        x, y = ([str(self._split[i]) for i in rows] for rows in (mine, theirs))
        if len({*x, *y}) < 2:
            return None
        both = self._runs.iloc[[*mine, *theirs]]
        return Splits(x, y, float((both["test_images"] / both["train_images"]).max()))


def _lined_up(
    mine: list[tuple[str, int]], theirs: list[tuple[str, int]]
) -> tuple[list[int], list[int], bool]:
    """Align the runs of two arms by replicate if they share them, else take all runs of both.

    They share them if the other arm has at least half of the smaller arm's replicates, and none
    appears twice. An arm shares all of its own with itself.
    """
    x, y = dict(mine), dict(theirs)
    shared = [replicate for replicate in y if replicate in x]
    unique = len(x) == len(mine) and len(y) == len(theirs)
    if unique and 2 * len(shared) >= min(len(x), len(y)):
        return [x[r] for r in shared], [y[r] for r in shared], True
    return [i for _, i in mine], [i for _, i in theirs], mine is theirs
