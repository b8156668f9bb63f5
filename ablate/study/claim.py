"""A claim: what a study predicts about an arm before training, and which numbers it compares."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ablate.errors import AblateError, listed, nearest
from ablate.metrics import PRIMARY

EQUIVALENT: Final = "equivalent"
DIRECTIONS: Final = ("lower", "higher", "differs", EQUIVALENT)
STATISTICS: Final = ("mean", "spread")


class Compared(NamedTuple):
    """The two sides of a comparison: a metric of one arm, and a metric of another or the same arm.

    Attributes:
        arm: The arm's name.
        metric: Its metric.
        against: The other arm: the baseline, unless a claim names another.
        against_metric: The metric of the other arm; nearly always the same.
        statistic: ``mean`` over seeds, or ``spread``: the standard deviation over seeds.
    """

    arm: str
    metric: str
    against: str
    against_metric: str
    statistic: str = "mean"

    @property
    def both_ways(self) -> frozenset[Compared]:
        """This comparison and its mirror image."""
        other = (self.against, self.against_metric, self.arm, self.metric, self.statistic)
        return frozenset({self, Compared(*other)})

    def is_to(self, baseline: str) -> bool:
        """Tell whether this compares the mean of one metric with the baseline's, as for any arm."""
        alike = self.against_metric == self.metric and self.statistic == "mean"
        return alike and self.against == baseline


@dataclass(frozen=True)
class Claim:
    """A claim about an arm. Claims are equal if they say the same, whatever their wording.

    Attributes:
        arm: The arm's name.
        metric: The metric that is compared.
        direction: ``lower`` or ``higher`` than the other, ``differs``, or ``equivalent``.
        margin: The smallest difference that matters, δ > 0, in the metric's unit; for spread a
            ratio > 1. With None any difference counts.
        against: The other arm; None is the baseline or, with `against_metric`, the same arm.
        against_metric: The metric of the other arm; None is the same metric.
        statistic: What is compared over seeds: the ``mean``, or the ``spread`` (the standard
            deviation), as a ratio.
        words: The claim in words.
        source: Who claims it.
        line: Its line in the study's file.

    Raises:
        AblateError: The direction, the statistic or the margin is not legal.

    Example:
        >>> Claim("dropout.dense=0.5", "test/error", "lower", margin=0.001).direction
        'lower'
    """

    arm: str
    metric: str = PRIMARY
    direction: str = "differs"
    margin: float | None = None
    against: str | None = None
    against_metric: str | None = None
    statistic: str = "mean"
    words: str = field(default="", compare=False)
    source: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if faults := faults_of(self.direction, self.statistic, self.margin):
            place = f"the claim about {self.arm} on {self.metric}"
            raise AblateError(*(f"{place}: {fault}" for fault in faults.values()))

    def compared(self, baseline: str) -> Compared:
        """Fill in what the claim leaves out, given the baseline's name."""
        own = baseline if self.against_metric is None else self.arm
        against = own if self.against is None else self.against
        other = self.metric if self.against_metric is None else self.against_metric
        return Compared(self.arm, self.metric, against, other, self.statistic)


def faults_of(direction: object, statistic: object, margin: float | None) -> dict[str, str]:
    """List what is wrong with a claim, whichever way it was made.

    Returns:
        Attribute -> a sentence that says what is wrong with it; empty if the claim is sound.
    """
    faults = {}
    words = {"direction": (direction, DIRECTIONS), "statistic": (statistic, STATISTICS)}
    for name, (given, legal) in words.items():
        if given not in legal:
            hint = nearest(str(given), legal)
            faults[name] = f"{name}={given} is not legal: {listed(legal)}{hint}"
    least = 1 if statistic == "spread" else 0
    if margin is not None and not least < margin < math.inf:
        faults["margin"] = f"margin={margin} is not legal: it takes a number > {least}"
    if margin is None and direction == EQUIVALENT:
        faults["direction"] = "equivalent needs a margin: differences below it do not count"
    return faults
