"""A claim: what a study says of an arm before it is trained, and what it compares with what."""

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
    """What is compared: a metric of an arm with a metric of another, or of the same.

    Attributes:
        arm: Its name.
        metric: What is measured of it.
        against: The other arm: the baseline, unless a claim names another.
        against_metric: What is measured of that one; nearly always the same.
        statistic: ``mean`` over seeds, or ``spread``: the standard deviation over them.
    """

    arm: str
    metric: str
    against: str
    against_metric: str
    statistic: str = "mean"

    @property
    def both_ways(self) -> frozenset[Compared]:
        """The same comparison, seen from each of its sides."""
        other = (self.against, self.against_metric, self.arm, self.metric, self.statistic)
        return frozenset({self, Compared(*other)})

    def is_to(self, baseline: str) -> bool:
        """Tell whether this is what every arm is compared by: the mean, with the baseline's."""
        alike = self.against_metric == self.metric and self.statistic == "mean"
        return alike and self.against == baseline


@dataclass(frozen=True)
class Claim:
    """What is claimed of an arm. Claims of the same are equal, in whatever words.

    Attributes:
        arm: Its name.
        metric: What is compared.
        direction: ``lower`` or ``higher`` than the other, ``differs``, or ``equivalent``.
        margin: The smallest difference that matters, δ > 0, in the metric's unit; of spread a ratio
            > 1; None for any.
        against: The other arm; None is the baseline, or with `against_metric` the same arm.
        against_metric: What is measured of that one; None is the same metric.
        statistic: Which is compared over seeds: the ``mean``, or the ``spread``, which is their
            standard deviation, as a ratio.
        words: The claim in words.
        source: Who claims it.
        line: Where it stands in the study's file.

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
            place = f"the claim of {self.arm} on {self.metric}"
            raise AblateError(*(f"{place}: {fault}" for fault in faults.values()))

    def compared(self, baseline: str) -> Compared:
        """Say what is compared with what, where the baseline is this."""
        own = baseline if self.against_metric is None else self.arm
        against = own if self.against is None else self.against
        other = self.metric if self.against_metric is None else self.against_metric
        return Compared(self.arm, self.metric, against, other, self.statistic)


def faults_of(direction: object, statistic: object, margin: float | None) -> dict[str, str]:
    """Tell what is wrong with a claim, wherever it was read.

    Returns:
        A sentence by the attribute at fault; none where the claim is sound.
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
        faults["direction"] = "equivalent needs a margin: what is no difference"
    return faults
