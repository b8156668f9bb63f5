"""One line of a comparison: what is known of an arm for one metric."""

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
    """What is known of an arm for one metric, in the metric's unit; NaN where nothing is.

    Attributes:
        arm: Its name.
        mean: Of its runs that trained, with the 95 % interval `low` to `high`.
        n: How many these are.
        lost: What became of runs that are in no mean -> how many.
        seconds: Of training a run, a mean.
        delta: The mean minus the baseline's, with the interval that decides, `delta_low` to
            `delta_high`; for a claim about spread, the ratio of the standard deviations.
        pairs: How many seeds it is based on; if not `paired`, how many runs of the arm.
        untrained: How many runs of both arms did not train. If any, only the direction is known.
        p: Two-sided; `p_adjusted` times the size of the `family`, its name and size.
        alpha: How often the interval that decides may miss.
        look: For a claim, ``interim`` before the planned end of its study, ``extended`` if seeds
            were added after it, else ``final``.
        verdict: One of `ablate.analyze.verdicts`; None where nothing is claimed.
        description: The difference in words, by sign and size; None for the baseline.
        identical: Whether the losses of both arms agree to the last bit.
        what: What is compared with what; None for the baseline.
        direction: As claimed; ``differs`` where nothing is.
        margin: The smallest difference that matters, or NaN.
        population: What the interval generalizes to: ``seeds``, or ``seeds and images``.
        p_networks: With one seed per arm, the p-value that these two networks differ on such
            images.
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
        contrast: Its contrast, with `what` it compares; None for the baseline.
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
