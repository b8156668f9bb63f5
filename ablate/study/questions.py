"""The question in a line of the ledger, and how it differs from the one before, in plain words.

Settings of execution (workers, folders, a report) are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablate.config import schema
from ablate.errors import listed
from ablate.metrics import PRIMARY, metric_of
from ablate.plan.request import Request, is_seed, name_of
from ablate.plan.run import Run
from ablate.study.study import Study
from ablate.study.study_json import described

_OF_A_CLAIM = (
    *("claim", "arm", "metric", "direction", "margin", "source"),
    *("against", "against_metric", "statistic"),
)
_OF_A_STUDY = (
    *("question", "source", "fixed", "metric", "margin", "target", "equal", "baseline"),
    *("tuning", "measure"),
)
Claimed = Mapping[str, Any]
Asked = Mapping[str, Any]


def of_study(study: Study, command: Sequence[str]) -> dict[str, Any]:
    """Write down what a study asks.

    Args:
        study: The study.
        command: The request's overrides, other than the study's name.
    """
    return as_written(described(study, {}) | {"command": list(command)})


def as_written(told: Mapping[str, Any]) -> dict[str, Any]:
    """Extract the question from what study.json holds."""
    arms = {
        name: {key: arm.get(key) for key in ("overrides", "seeds", "grid")}
        for name, arm in told["arms"].items()
    }
    claims = [{key: claim.get(key) for key in _OF_A_CLAIM} for claim in told["claims"]]
    asked = {key: told.get(key) for key in _OF_A_STUDY}
    if asked["measure"]:
        asked["measure"] = {k: v for k, v in asked["measure"].items() if k != "line"}
    return asked | {"arms": arms, "claims": claims, "command": _acting(told["command"])}


def of_request(request: Request, runs: Sequence[Run]) -> dict[str, Any]:
    """Write down what a grid or a design asks; it claims nothing.

    Args:
        request: The request.
        runs: Its runs in one folder; empty if a sweeper searches, since they are not yet known.
    """
    return {
        "metric": PRIMARY,
        "margin": None,
        "baseline": None,
        "claims": [],
        "command": [o for o in _acting(request.overrides) if not is_seed(name_of(o))],
        "design": request.design,
        "seeds": None if request.searches else sorted({run.config["seed"] for run in runs}),
    }


def planned_seeds(asked: Asked) -> dict[str, tuple[int, ...]]:
    """Read the seeds that a study plans: arm -> seeds; empty for a grid."""
    arms = asked.get("arms", {})
    return {name: tuple(arm["seeds"]) for name, arm in arms.items() if arm.get("seeds")}


def _acting(overrides: Sequence[str]) -> list[str]:
    """Leave out overrides that say how runs are executed, not what they are."""
    return [o for o in overrides if not name_of(o).startswith("hydra") and _acts(name_of(o))]


def _acts(name: str) -> bool:
    knob = schema.BY_NAME.get(name)
    return knob is None or knob.role == "result" or name == "scale"


# -- what differs ----------------------------------------------------------------------------------


def changes(old: Asked, new: Asked) -> list[str]:
    """Say what changed from one question to the next, one clause each."""
    told = [*_of_claims(old, new), *_of_seeds(old, new), *_of_arms(old, new)]
    for key, name in (("metric", "the metric"), ("baseline", "the baseline")):
        if old.get(key) != new.get(key):
            told.append(f"{name} was changed from {old.get(key)} to {new.get(key)}")
    if old.get("question") != new.get("question"):
        told.append("the question was reworded")
    for keys, name in (
        (("fixed", "command", "design"), "what all runs set was changed"),
        (("tuning",), "the tuning was changed"),
        (("measure", "target", "equal"), "what is measured or held equal was changed"),
    ):
        if any(old.get(key) != new.get(key) for key in keys):
            told.append(name)
    return told or ["the source of the question was changed"]


def _of_claims(old: Asked, new: Asked) -> Iterator[str]:
    pairs, dropped, added = _matched(old["claims"], new["claims"])
    margins = {(a["margin"], b["margin"]) for a, b in pairs if a["margin"] != b["margin"]}
    shared = (old["margin"], new["margin"])
    if old["margin"] != new["margin"]:
        yield _margin("the margin of the study", *shared, new["metric"], "mean")
    for before, after in pairs:
        name = f"the claim {_named(before)}"
        if before["direction"] != after["direction"]:
            yield _turned(name, before["direction"], after["direction"])
        changed = (before["margin"], after["margin"])
        if changed in margins and changed != shared:
            yield _margin(f"the margin of {name}", *changed, after["metric"], after["statistic"])
        for key, what in (("metric", "metric"), ("against", "other arm"), ("arm", "arm")):
            if before[key] != after[key]:
                yield f"the {what} of {name} was changed from {before[key]} to {after[key]}"
        if (
            before["against_metric"] != after["against_metric"]
            and before["metric"] == after["metric"]
        ):
            yield f"the metric that {name} compares with was changed"
        if before["statistic"] != after["statistic"]:
            yield f"{name} was changed from the {before['statistic']} to the {after['statistic']}"
        if before["claim"] != after["claim"]:
            yield f"{name} was reworded: {_quoted(after)}"
    for claim in dropped:
        yield f"the claim {_named(claim)} was dropped"
    for claim in added:
        yield f"the claim {_named(claim)} was added"


def _turned(name: str, before: str, after: str) -> str:
    verb = "reversed" if {before, after} == {"lower", "higher"} else "changed"
    return f"{name} was {verb} from {before} to {after}"


def _margin(
    name: str, before: float | None, after: float | None, metric: str, statistic: str
) -> str:
    if before is None or after is None:
        verb, value = ("removed", before) if after is None else ("added", after)
        return f"{name} ({_amount(value or 0, metric, statistic)}) was {verb}"
    verb = "widened" if after > before else "narrowed"
    unit = _amount(after, metric, statistic)
    number = _amount(before, metric, statistic).split()[0]
    return f"{name} was {verb} from {number} to {unit}"


def _amount(margin: float, metric: str, statistic: str) -> str:
    """Write a margin: ``0.5 points``, or a ratio for a spread."""
    if statistic == "spread":
        return f"{margin:g}"
    unit = metric_of(metric).unit
    return f"{margin * unit.scale:g} {unit.difference}".rstrip()


def _named(claim: Claimed) -> str:
    spread = "spread of " if claim["statistic"] == "spread" else ""
    return f"{_quoted(claim)} ({claim['arm']}, {spread}{metric_of(claim['metric']).label})"


def _quoted(claim: Claimed) -> str:
    return f"“{claim['claim']}”"


def _matched(
    old: Sequence[Claimed], new: Sequence[Claimed]
) -> tuple[list[tuple[Claimed, Claimed]], list[Claimed], list[Claimed]]:
    """Match claims before and after, best matches first.

    Returns:
        Pairs; claims that are gone; claims that are new.
    """
    sides = ("arm", "metric", "against", "against_metric", "statistic")
    pairs, before, after = list[tuple[Claimed, Claimed]](), list(old), list(new)
    for keys in (_OF_A_CLAIM, (*sides, "direction"), (*sides, "claim"), sides, ("claim",)):
        for one in list(before):
            same = [two for two in after if all(one[key] == two[key] for key in keys)]
            if same and (keys != ("claim",) or one["claim"]):
                pairs.append((one, same[0]))
                before.remove(one)
                after.remove(same[0])
    return pairs, before, after


def _of_seeds(old: Asked, new: Asked) -> Iterator[str]:
    """Report added and dropped seeds, with the same change in several arms told once."""
    changed: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    was, has = _all_seeds(old), _all_seeds(new)
    for arm in was.keys() & has.keys():
        if was[arm] != has[arm]:
            changed.setdefault((was[arm], has[arm]), []).append(arm)
    for (before, after), arms in changed.items():
        of = "" if len(arms) == len(has) else f" of {listed(sorted(arms))}"
        more, fewer = set(after) - set(before), set(before) - set(after)
        if more:
            yield f"{_count(len(more))} added{of} ({len(before)} before, {len(after)} now)"
        if fewer:
            yield f"{_count(len(fewer))} dropped{of} ({len(before)} before, {len(after)} now)"


def _all_seeds(asked: Asked) -> dict[str, tuple[int, ...]]:
    return planned_seeds(asked) or {"": tuple(asked.get("seeds") or ())}


def _count(seeds: int) -> str:
    return "1 seed was" if seeds == 1 else f"{seeds} seeds were"


def _of_arms(old: Asked, new: Asked) -> Iterator[str]:
    was, has = old.get("arms", {}), new.get("arms", {})
    yield from (f"the arm {name} was dropped" for name in was if name not in has)
    yield from (f"the arm {name} was added" for name in has if name not in was)
    for name in was:
        sets = [
            {key: arm.get(name, {}).get(key) for key in ("overrides", "grid")} for arm in (was, has)
        ]
        if name in has and sets[0] != sets[1]:
            yield f"what the arm {name} sets was changed"
