"""Reads the claims in a study's file, and reports what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.errors import nearest
from ablate.metrics import TARGET, metric_of, why_unknown
from ablate.study.claim import Claim, Compared, faults_of

_KEYS = (
    *("claim", "arm", "against", "metric", "against_metric", "statistic", "direction"),
    *("margin", "source"),
)


@dataclass(frozen=True)
class Claims:
    """Reads claims.

    Attributes:
        arms: Names of the arms, the baseline first; empty if the arms themselves have faults.
        metric: The study's primary metric.
        margin: The smallest difference in the primary metric that matters.
        target: The validation error that `epochs_to_target` needs.
        source: The study's source, which is also a claim's by default.
        fault: Records a fault: its place in the file, and what is wrong.
        number: Reads a number that must be above a lower bound.
        line: Returns the line of a place in the file.
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

    def read(self, given: Any) -> tuple[Claim, ...]:
        """Read the list of claims."""
        if not isinstance(given, list) or not given:
            self.fault("claims", "claims must be a list of at least one claim")
            return ()
        read = [self._claim(f"claims.{number}", value) for number, value in enumerate(given)]
        return tuple(claim for claim in read if claim is not None)

    def known(self, path: str, metric: str) -> None:
        """Check that there is a metric of this name, and that a claim can be made with it."""
        if (why := why_unknown(metric) or metric_of(metric).no_claim) is not None:
            self.fault(path, f"the metric {metric}: {why}")
        if metric == TARGET and self.target is None:
            self.fault(
                path, f"the metric {TARGET} needs a target at the top of the study (target: 0.05)"
            )

    def _claim(self, path: str, value: Any) -> Claim | None:
        if not isinstance(value, dict) or not {"claim", "arm", "direction"} <= set(value):
            self.fault(path, "a claim needs claim (in words), arm and direction")
            return None
        for key in set(value) - set(_KEYS):
            self.fault(path, f"there is no key {key} in a claim{nearest(str(key), _KEYS)}")
        what = self._compared(value)
        margin = self._margin(path, value, what.metric)
        faults = faults_of(value["direction"], what.statistic, margin)
        for key, fault in faults.items():
            self.fault(f"{path}.{key}", fault)
        self._check(path, what, value)
        if faults:
            return None
        return Claim(
            *(what.arm, what.metric, str(value["direction"]), margin),
            *(what.against, what.against_metric, what.statistic),
            words=str(value["claim"]),
            source=str(value.get("source", self.source)),
            line=self.line(path),
        )

    def _compared(self, value: Mapping[str, Any]) -> Compared:
        """Read what a claim compares; by default the study's metric, against its baseline."""
        arm, metric = str(value["arm"]), str(value.get("metric", self.metric))
        other = str(value.get("against_metric", metric))
        default = arm if other != metric or not self.arms else self.arms[0]
        statistic = str(value.get("statistic", "mean"))
        return Compared(arm, metric, str(value.get("against", default)), other, statistic)

    def _margin(self, path: str, value: Mapping[str, Any], metric: str) -> float | None:
        """Read a claim's margin; the study's own is for means of its primary metric only."""
        spread = value.get("statistic") == "spread"
        own = self.number(f"{path}.margin", value.get("margin"), 1 if spread else 0)
        return (
            self.margin if "margin" not in value and metric == self.metric and not spread else own
        )

    def _check(self, path: str, what: Compared, value: Mapping[str, Any]) -> None:
        """Check the two sides of a claim, and that no other claim compares them."""
        self.known(f"{path}.metric", what.metric)
        if what.against_metric != what.metric:
            self.known(f"{path}.against_metric", what.against_metric)
        lost = [key for key in ("arm", "against") if getattr(what, key) not in self.arms]
        for key in lost if self.arms else ():
            name = getattr(what, key)
            hint = nearest(name, self.arms)
            self.fault(
                f"{path}.{key}", f"the claim names the arm {name}, which does not exist{hint}"
            )
        if lost:
            return
        line = self.line(path)
        if len(what.both_ways) == 1:
            self.fault(f"{path}.arm", _with_itself(what.arm, value))
        elif (other := self._told.setdefault(what.both_ways, line)) != line:
            self.fault(path, f"the claim makes the same comparison as the one in line {other}")


def _with_itself(arm: str, value: Mapping[str, Any]) -> str:
    if "against" in value or "against_metric" in value:
        return f"the claim compares {arm} with itself"
    return f"the claim names {arm}, which is the baseline: say against which arm"
