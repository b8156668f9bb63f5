"""The level of a claim's interval at this look, given the looks so far.

The time of a look, for a claim, is the share of its planned seeds that had ended. Where the two
arms share seeds, a seed counts once both runs have ended; else the share is that of the variance of
a difference, 1/n + 1/m.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ablate.analyze.spending import level_at
from ablate.study.story import Story


@dataclass(frozen=True)
class ClaimLook:
    """The level at which a claim is judged at one look.

    Attributes:
        level: Nominal two-sided level: the claim's interval has confidence 1 - level. Early in a
            study, 1 - level rounds to 1: use the tail, level / 2.
        word: ``interim`` before the planned end, ``final`` at it, ``extended`` if further seeds are
            shown, which count for no verdict.
        time: Share of the planned seeds that have ended, in [0, 1].
    """

    level: float
    word: Literal["interim", "final", "extended"] = "final"
    time: float = 1.0


def planned_only(runs: pd.DataFrame, story: Story) -> pd.DataFrame:
    """Keep the runs that verdicts rest on: those with planned seeds.

    Args:
        runs: The runs frame.
        story: What the ledger says of them. Arms that it does not plan keep all runs.
    """
    planned = story.planned
    kept = [
        arm not in planned or seed in planned[arm]
        for arm, seed in zip(runs["arm"], runs["seed"], strict=True)
    ]
    return runs[kept].reset_index(drop=True)


def look_at(story: Story, runs: pd.DataFrame, arm: str, against: str, alpha: float) -> ClaimLook:
    """Compute the level of a claim's interval at this look.

    Args:
        story: What the ledger says of the runs that are shown.
        runs: The runs frame.
        arm: The arm that the claim is about.
        against: The other arm; may be the same one.
        alpha: What the claim may spend in all: 0.05 / m for each of m claims.

    Returns:
        The level and its word. Without planned seeds (a grid, or runs of several folders) no look
        spends anything: the level is alpha.
    """
    planned = [story.planned.get(name, ()) for name in (arm, against)]
    if not all(planned):
        return ClaimLook(alpha, "interim" if story.is_interim else "final", 1.0)
    keys = [_keys(runs, name) for name in (arm, against)]
    times = [_time(shown, keys, planned) for shown in (*story.looks, story.shown)]
    more = any(
        key in story.shown and seed not in seeds
        for of_arm, seeds in zip(keys, planned, strict=True)
        for seed, key in of_arm.items()
    )
    now = times[-1]
    word: Literal["interim", "final", "extended"] = "final"
    if now < 1:
        word = "interim"
    elif more:
        word = "extended"
    return ClaimLook(level_at(times[:-1], now, alpha) if now > 0 else 0.0, word, now)


def _keys(runs: pd.DataFrame, arm: str) -> dict[int, str]:
    own = runs[runs["arm"] == arm]
    return dict(zip(own["seed"].astype(int), own["key"].astype(str), strict=True))


def _time(
    shown: Collection[str], keys: list[dict[int, str]], planned: list[tuple[int, ...]]
) -> float:
    """Return the share of a claim's planned seeds that had ended at a look."""
    mine, theirs = (
        {seed for seed in seeds if of_arm.get(seed) in shown}
        for of_arm, seeds in zip(keys, planned, strict=True)
    )
    shared = set(planned[0]) & set(planned[1])
    if 2 * len(shared) >= min(map(len, planned)):  # as `pairs_of` aligns them
        return len(mine & theirs & shared) / len(shared)
    if not mine or not theirs:
        return 0.0
    return (1 / len(planned[0]) + 1 / len(planned[1])) / (1 / len(mine) + 1 / len(theirs))
