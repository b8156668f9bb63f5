"""Which values are compared with which: of an arm with the baseline, or as a claim has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.analyze import outcomes
from ablate.analyze.spread import Array
from ablate.metrics import TIMES
from ablate.study.claim import Compared


@dataclass(frozen=True)
class Pair:
    """Two arms by one metric, or by two: the values that are compared.

    Attributes:
        what: What is compared with what.
        x: Values of the arm [n]; the worst there is, ±inf, of a run that did not train.
        y: Of the other [m]; of the same replicates, in the same order, where paired.
        paired: Whether they share replicates.
        independent: Whether the values are; times of runs that were not trained alone are not.
    """

    what: Compared
    x: Array
    y: Array
    paired: bool
    independent: bool = True

    @property
    def all_trained(self) -> bool:
        """Whether every run of both sides trained."""
        return bool(np.isfinite(self.x).all() and np.isfinite(self.y).all())


def pairs_of(
    runs: pd.DataFrame, base: str, metrics: Sequence[str], others: Sequence[Compared] = ()
) -> list[Pair]:
    """Pick the values of every comparison, metric by metric.

    Args:
        runs: The runs frame, one row a run.
        base: The baseline's name.
        metrics: Columns; one that the frame lacks has no values.
        others: What else is compared, of these metrics.

    Returns:
        A pair for each metric and each arm but the baseline, of runs that finished and have the
        metric, or did not train; then one for each of the others.
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
    alone = outcomes.trained_alone(runs)
    pairs = []
    for one in (*wanted, *others):
        mine, theirs, paired = lined_up[one.arm, one.against]
        x, y = values[mine, place[one.metric]], values[theirs, place[one.against_metric]]
        there = [~np.isnan(x), ~np.isnan(y)]
        if paired:
            there = [there[0] & there[1]] * 2
        both = ((mine, there[0]), (theirs, there[1]))
        used = np.concatenate([np.array(side, dtype=int)[kept] for side, kept in both])
        timed = one.metric in TIMES or one.against_metric in TIMES
        independent = not timed or bool(alone[used].all())
        pairs.append(Pair(one, x[there[0]], y[there[1]], paired, independent))
    return pairs


def _lined_up(
    mine: list[tuple[str, int]], theirs: list[tuple[str, int]]
) -> tuple[list[int], list[int], bool]:
    """Line up the runs of two arms by replicate where they share them, else take all of both.

    They share them if half of the smaller arm's are the other's too, and none stands twice; an arm
    shares all of its own with itself.
    """
    x, y = dict(mine), dict(theirs)
    shared = [replicate for replicate in y if replicate in x]
    unique = len(x) == len(mine) and len(y) == len(theirs)
    if unique and 2 * len(shared) >= min(len(x), len(y)):
        return [x[r] for r in shared], [y[r] for r in shared], True
    return [i for _, i in mine], [i for _, i in theirs], mine is theirs
