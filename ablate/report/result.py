"""What is said of an arm by one metric: a line of a comparison, or of its claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any

from ablate.study.claim import EQUIVALENT, Compared

LOST = {
    "n_missing": "missing",
    "n_failed": "failed",
    "n_diverged": "diverged",
    "n_unfinished": "unfinished",
}


@dataclass(frozen=True)
class Line:
    """What is said of an arm by one metric, in the metric's unit; NaN where nothing can be said.

    Attributes:
        arm: Its name.
        mean: Over its finished runs, with the 95 % interval `low` to `high`.
        n: How many these are.
        lost: How many runs did not finish, by what became of them.
        sampling_error: What the test set gives a single run.
        seconds: Of training a run, a mean.
        delta: The mean less the baseline's, with the 95 % interval `delta_low` to `delta_high`; of
            a claim about spread the ratio of the standard deviations.
        pairs: Seeds that it was worked out from; runs of the arm where it is not `paired`.
        p: Two-sided; `p_holm` corrected within the `family`, its name and size: that on which the
            verdict rests.
        verdict: As `ablate.analyze.verdicts` has it; None of the baseline.
        what: What is compared with what; None of the baseline.
        direction: As claimed; ``differs`` where nothing is.
        change: On which side it lies: ``better``, ``worse``, ``lower`` or ``higher``.
        margin: The smallest difference that matters, or NaN.
    """

    arm: str
    mean: float
    low: float
    high: float
    n: int
    lost: dict[str, int]
    sampling_error: float
    seconds: float
    delta: float = nan
    delta_low: float = nan
    delta_high: float = nan
    pairs: int = 0
    paired: bool = True
    p: float = nan
    p_holm: float = nan
    verdict: str | None = None
    what: Compared | None = None
    direction: str = "differs"
    change: str | None = None
    margin: float = nan
    family: tuple[str, int] = ("", 0)


def line_of(about: Mapping[str, Any], contrast: Mapping[str, Any] | None, seconds: float) -> Line:
    """Make the line of an arm.

    Args:
        about: Its row of the arms frame.
        contrast: Its contrast, with `what` it compares; None of the baseline.
        seconds: Of training a run, a mean.
    """
    lost = {word: int(about[column]) for column, word in LOST.items()}
    own = (about["arm"], about["mean"], about["ci_low"], about["ci_high"], int(about["n"]), lost)
    line = Line(*own, about["sampling_error"], seconds)
    if contrast is None:
        return line
    low, high = contrast["ci_low"], contrast["ci_high"]
    # What refutes equivalence is a difference, not the tests that would have shown there is none.
    against = contrast["direction"] == EQUIVALENT and contrast["verdict"] == "refuted"
    return replace(
        line,
        delta=contrast["delta"],
        delta_low=low,
        delta_high=high,
        pairs=int(contrast["n"]),
        paired=bool(contrast["paired"]),
        p=contrast["p"],
        p_holm=contrast["p_differs" if against else "p_holm"],
        verdict=contrast["verdict"],
        what=contrast["what"],
        direction=contrast["direction"],
        change=contrast["change"],
        margin=contrast["margin"],
        family=(contrast["family"], int(contrast["family_size"])),
    )
