"""Which values of an arm are compared with which of the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablate.analyze.spread import Array


@dataclass(frozen=True)
class Pair:
    """An arm and the baseline by one metric: the values that are compared.

    Attributes:
        arm: Its name.
        metric: What was measured.
        x: Values of the arm [n].
        y: Of the baseline [m]; of the same replicates, in the same order, where paired.
        paired: Whether they share replicates.
    """

    arm: str
    metric: str
    x: Array
    y: Array
    paired: bool


def pairs_of(runs: pd.DataFrame, base: str, metrics: Sequence[str]) -> list[Pair]:
    """Pick the values of every comparison, metric by metric.

    Args:
        runs: The runs frame, one row a run.
        base: The baseline's name.
        metrics: Columns; one that the frame lacks has no values.

    Returns:
        A pair for each metric and each arm but the baseline, of finished runs that have the metric.
    """
    values = runs.reindex(columns=list(metrics)).to_numpy(np.float64, na_value=np.nan)
    finished = (runs["status"] == "finished").to_numpy()
    values = np.where(finished[:, None], values, np.nan)
    members: dict[str, list[tuple[str, int]]] = {}
    for i, (arm, replicate) in enumerate(zip(runs["arm"], runs["replicate"], strict=True)):
        members.setdefault(str(arm), []).append((str(replicate), i))
    theirs = members.pop(base)
    by_arm = {arm: _columns(values, mine, theirs) for arm, mine in members.items()}
    pairs = []
    for m, metric in enumerate(metrics):
        for arm, (x, y, paired) in by_arm.items():
            a, b = x[:, m], y[:, m]
            there = [~np.isnan(a), ~np.isnan(b)]
            if paired:
                there = [there[0] & there[1]] * 2
            pairs.append(Pair(arm, metric, a[there[0]], b[there[1]], paired))
    return pairs


def _columns(
    values: Array, mine: list[tuple[str, int]], theirs: list[tuple[str, int]]
) -> tuple[Array, Array, bool]:
    """Line up two arms by replicate where they share them, else take all runs of both.

    They share them if half of the smaller arm's are the other's too, and none stands twice.
    """
    x, y = dict(mine), dict(theirs)
    shared = [replicate for replicate in y if replicate in x]
    unique = len(x) == len(mine) and len(y) == len(theirs)
    if unique and 2 * len(shared) >= min(len(x), len(y)):
        return values[[x[r] for r in shared]], values[[y[r] for r in shared]], True
    return values[[i for _, i in mine]], values[[i for _, i in theirs]], False
