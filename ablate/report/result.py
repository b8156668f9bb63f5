"""What is said of an arm by one metric: a line of a comparison, or of its claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any

from ablate.study.claim import Compared

LOST = {
    "n_missing": "missing",
    "n_failed": "failed",
    "n_diverged": "diverged",
    "n_at_chance": "at chance",
    "n_unfinished": "unfinished",
}


@dataclass(frozen=True)
class Line:
    """What is said of an arm by one metric, in the metric's unit; NaN where nothing can be said.

    Attributes:
        arm: Its name.
        mean: Over its runs that trained, with the 95 % interval `low` to `high`.
        n: How many these are.
        lost: How many runs are in no mean, by what became of them.
        seconds: Of training a run, a mean.
        delta: The mean less the baseline's, with the interval that decides, `delta_low` to
            `delta_high`; of a claim about spread the ratio of the standard deviations.
        pairs: Seeds that it was worked out from; runs of the arm where it is not `paired`.
        untrained: How many runs on either side did not train: then only the side is known.
        p: Two-sided; `p_adjusted` times the size of the `family`, its name and size.
        alpha: What the interval that decides may miss.
        look: Of a claim: ``interim`` before the planned end of its study, ``extended`` where seeds
            were added after it, else ``final``.
        verdict: As `ablate.analyze.verdicts` has it; None where nothing is claimed.
        description: Of the difference, by sign and size; None of the baseline.
        identical: Whether the losses of both arms agree to the last bit.
        what: What is compared with what; None of the baseline.
        direction: As claimed; ``differs`` where nothing is.
        margin: The smallest difference that matters, or NaN.
        population: What the interval is told of: ``seeds``, or ``seeds and images``.
        p_networks: Of one seed an arm, whether these two networks differ on such images.
    """

    arm: str
    mean: float
    low: float
    high: float
    n: int
    lost: dict[str, int]
    seconds: float
    delta: float = nan
    delta_low: float = nan
    delta_high: float = nan
    pairs: int = 0
    paired: bool = True
    untrained: int = 0
    p: float = nan
    p_adjusted: float = nan
    alpha: float = nan
    look: str = "final"
    verdict: str | None = None
    description: str | None = None
    identical: bool = False
    what: Compared | None = None
    direction: str = "differs"
    margin: float = nan
    family: tuple[str, int] = ("", 0)
    population: str = ""
    p_networks: float = nan


def line_of(about: Mapping[str, Any], contrast: Mapping[str, Any] | None, seconds: float) -> Line:
    """Make the line of an arm.

    Args:
        about: Its row of the arms frame.
        contrast: Its contrast, with `what` it compares; None of the baseline.
        seconds: Of training a run, a mean.
    """
    lost = {word: int(about[column]) for column, word in LOST.items()}
    own = (about["arm"], about["mean"], about["ci_low"], about["ci_high"], int(about["n"]), lost)
    line = Line(*own, seconds)
    if contrast is None:
        return line
    verdict = contrast["verdict"]
    return replace(
        line,
        delta=contrast["delta"],
        delta_low=contrast["low"],
        delta_high=contrast["high"],
        pairs=int(contrast["n"]),
        paired=bool(contrast["paired"]),
        untrained=int(contrast["n_untrained"] + contrast["n_baseline_untrained"]),
        p=contrast["p"],
        p_adjusted=contrast["p_adjusted"],
        alpha=contrast["alpha"],
        look=contrast["look"],
        verdict=verdict if isinstance(verdict, str) else None,
        description=contrast["description"],
        identical=bool(contrast["identical"]),
        what=contrast["what"],
        direction=contrast["direction"],
        margin=contrast["margin"],
        family=(contrast["family"], int(contrast["family_size"])),
        population=contrast["population"],
        p_networks=contrast["p_networks"],
    )
