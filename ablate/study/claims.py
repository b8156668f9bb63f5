"""Reads what a study's file claims, and tells what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ablate.errors import listed, nearest
from ablate.study.metric_names import TARGET, known_metric
from ablate.study.study import Statement

if TYPE_CHECKING:
    from ablate.analyze.pairs import Compared

_KEYS = (
    *("claim", "arm", "against", "metric", "against_metric", "statistic", "direction"),
    *("margin", "source"),
)


@dataclass(frozen=True)
class Claims:
    """Reads claims.

    Attributes:
        arms: Names of the arms, the baseline first; none where these are at fault themselves.
        metric: The study's primary metric.
        margin: The smallest difference in it that matters.
        target: The validation error that `epochs_to_target` needs.
        source: The study's.
        fault: Takes down what is wrong, and at which place of the file.
        number: Reads a number above a least one.
        line: Gives the line of a place.
    """

    arms: Sequence[str]
    metric: str
    margin: float | None
    target: float | None
    source: str
    fault: Callable[[str, str], None]
    number: Callable[[str, Any, float], float | None]
    line: Callable[[str], int]
    _told: dict[frozenset[Compared], int] = field(default_factory=dict)

    def read(self, given: Any) -> tuple[Statement, ...]:
        """Read the list of claims."""
        if not isinstance(given, list) or not given:
            self.fault("claims", "claims is a list of at least one")
            return ()
        read = [self._claim(f"claims.{number}", value) for number, value in enumerate(given)]
        return tuple(claim for claim in read if claim is not None)

    def known(self, path: str, metric: str) -> None:
        """Check that runs have a metric of this name."""
        if (why := known_metric(metric)) is not None:
            self.fault(path, f"the metric {metric}: {why}")
        if metric == TARGET and self.target is None:
            self.fault(
                path, f"the metric {TARGET} needs a target at the study's top (target: 0.05)"
            )

    def _claim(self, path: str, value: Any) -> Statement | None:
        if not isinstance(value, dict) or not {"claim", "arm", "direction"} <= set(value):
            self.fault(path, "a claim has claim (in words), arm and direction")
            return None
        for key in set(value) - set(_KEYS):
            self.fault(path, f"there is no key {key} in a claim{nearest(str(key), _KEYS)}")
        from ablate.analyze.verdicts import DIRECTIONS, STATISTICS  # statsmodels takes a second

        arm, metric = str(value["arm"]), str(value.get("metric", self.metric))
        other = str(value.get("against_metric", metric))
        default = arm if other != metric or not self.arms else self.arms[0]
        claim = Statement(
            claim=str(value["claim"]),
            arm=arm,
            metric=metric,
            direction=self._word(path, "direction", value["direction"], DIRECTIONS),
            margin=self._margin(path, value, metric),
            source=str(value.get("source", self.source)),
            against=str(value.get("against", default)),
            against_metric=other,
            statistic=self._word(path, "statistic", value.get("statistic", "mean"), STATISTICS),
            line=self.line(path),
        )
        self._check(path, claim, value)
        return claim

    def _word(self, path: str, key: str, given: Any, legal: Sequence[str]) -> str:
        if given not in legal:
            hint = nearest(str(given), legal)
            self.fault(f"{path}.{key}", f"{key}={given} is not legal: {listed(legal)}{hint}")
        return str(given)

    def _margin(self, path: str, value: Mapping[str, Any], metric: str) -> float | None:
        """Read a claim's margin: the study's is of the means of its primary metric alone."""
        spread = value.get("statistic") == "spread"
        own = self.number(f"{path}.margin", value.get("margin"), 1 if spread else 0)
        return (
            self.margin if "margin" not in value and metric == self.metric and not spread else own
        )

    def _check(self, path: str, claim: Statement, value: Mapping[str, Any]) -> None:
        """Check what a claim compares, and that it is claimed once."""
        from ablate.analyze.pairs import Compared

        self.known(f"{path}.metric", claim.metric)
        if claim.against_metric != claim.metric:
            self.known(f"{path}.against_metric", claim.against_metric)
        if claim.direction == "equivalent" and claim.margin is None and value.get("margin") is None:
            self.fault(f"{path}.direction", "equivalent needs a margin: what is no difference")
        sides = (claim.arm, claim.metric, claim.against, claim.against_metric)
        what = Compared(*sides, claim.statistic)
        lost = [key for key in ("arm", "against") if getattr(claim, key) not in self.arms]
        for key in lost if self.arms else ():
            name = getattr(claim, key)
            hint = nearest(name, self.arms)
            self.fault(f"{path}.{key}", f"the claim names the arm {name}: there is none{hint}")
        if lost:
            return
        if len(what.both_ways) == 1:
            self.fault(f"{path}.arm", self._with_itself(claim, value))
        elif (line := self._told.setdefault(what.both_ways, claim.line)) != claim.line:
            self.fault(path, f"the claim compares the same as that of line {line}")

    def _with_itself(self, claim: Statement, value: Mapping[str, Any]) -> str:
        if "against" in value or "against_metric" in value:
            return f"the claim compares {claim.arm} with itself"
        return f"the claim names {claim.arm}, which is the baseline: say against which arm"
