"""study.json: what a study asked, what was tuned, and which runs it reports, beside these runs.

Written when a study is run, and read by its report. The names in the file are a contract: change
none of them. A file of an earlier version, which lacks some, reads all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ablate import record, written
from ablate.config import files
from ablate.errors import AblateError
from ablate.study.claim import Claim
from ablate.study.study import Measurement, Study, Tuning, shipped

FILE: Final = "study.json"


@dataclass(frozen=True)
class WrittenArm:
    """An arm, as a study wrote it down.

    Attributes:
        overrides: What it sets.
        seeds: Its seeds.
        tuned: What was chosen for it, a value by knob.
        grid: Values of its own for what was tuned, where they were not the study's.
        on_edge: Knobs whose chosen value is the first or last of its grid.
    """

    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    tuned: Mapping[str, str]
    grid: Mapping[str, Sequence[str]]
    on_edge: tuple[str, ...]


@dataclass(frozen=True)
class WrittenStudy:
    """A study, as it was written down beside its runs.

    Attributes:
        question: What is asked.
        source: Who says so, or nothing.
        fixed: What every run sets.
        baseline: The arm that the others are compared with.
        metric: The primary metric.
        margin: The smallest difference in it that matters, or None.
        target: The validation error of `epochs_to_target`, or None.
        equal: What is held equal between arms: ``epochs`` or ``steps``.
        arms: By name.
        tuning: What was tuned for each arm, or None.
        measure: What is measured of its runs after training, or None.
        claims: What is claimed.
        asked_as: How `+study=` names it, or None where the file does not tell where the study lies.
        command: What the request set beside.
        runs: Keys of the runs that it reports; None where the file does not tell.
        unmeasured: What could not be measured after training, a sentence each.
    """

    question: str
    source: str
    fixed: tuple[str, ...]
    baseline: str
    metric: str
    margin: float | None
    target: float | None
    equal: str
    arms: Mapping[str, WrittenArm]
    tuning: Tuning | None
    measure: Measurement | None
    claims: tuple[Claim, ...]
    asked_as: str | None
    command: tuple[str, ...]
    runs: frozenset[str] | None
    unmeasured: tuple[str, ...]


# -- writing ---------------------------------------------------------------------------------------


def write(
    folder: Path,
    study: Study,
    choices: Mapping[str, Mapping[str, str]],
    *,
    command: Sequence[str],
    runs: Sequence[str],
    unmeasured: Sequence[str] = (),
) -> None:
    """Write a study down beside its runs, in place of what was written there before.

    Args:
        folder: Of its runs; made if need be.
        study: The study.
        choices: What was tuned: arm -> knob -> value.
        command: What the request sets beside the study.
        runs: Keys of the runs that are reported.
        unmeasured: What could not be measured after training, a sentence each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = described(study, choices) | {
        "unmeasured": list(unmeasured),
        "command": list(command),
        "runs": list(runs),
    }
    _keep_foreign(folder / FILE)
    record.write_json(folder / FILE, told)


def _keep_foreign(file: Path) -> None:
    """Move a file of that name aside that no study wrote."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        found = None
    if not (isinstance(found, dict) and {"name", "question", "arms"} <= set(found)):
        written.set_aside(file)


def described(study: Study, choices: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Give what study.json holds of a study and of what was tuned for it."""
    return {
        "name": study.name,
        "file": None if study.file.parent == files.CONF / files.STUDIES else str(study.file),
        "question": study.question,
        "source": study.source,
        "fixed": list(study.fixed),
        "metric": study.metric,
        "margin": study.margin,
        "target": study.target,
        "equal": study.equal,
        "baseline": study.baseline.name,
        "arms": {
            arm.name: {
                "overrides": list(arm.overrides),
                "seeds": list(study.seeds_of(arm)),
                "tuned": choices.get(arm.name, {}),
                "grid": dict(arm.grid or {}),
                "on the grid's edge": _on_edge(study.grid_of(arm), choices.get(arm.name, {})),
            }
            for arm in study.arms
        },
        "tuning": None if study.tuning is None else asdict(study.tuning),
        "measure": None if study.measure is None else asdict(study.measure),
        "claims": [_told(claim, study.baseline.name) for claim in study.claims],
    }


def _on_edge(grid: Mapping[str, Sequence[str]], choice: Mapping[str, str]) -> list[str]:
    return [name for name, value in choice.items() if value in (grid[name][0], grid[name][-1])]


def _told(claim: Claim, baseline: str) -> dict[str, Any]:
    """Write a claim with all that it compares, what goes without saying among it."""
    what = claim.compared(baseline)
    return {
        "claim": claim.words,
        "arm": what.arm,
        "metric": what.metric,
        "direction": claim.direction,
        "margin": claim.margin,
        "source": claim.source,
        "against": what.against,
        "against_metric": what.against_metric,
        "statistic": what.statistic,
        "line": claim.line,
    }


# -- reading ---------------------------------------------------------------------------------------


def read(folder: Path) -> WrittenStudy | None:
    """Read what a study wrote down beside its runs, or None where there is nothing.

    Args:
        folder: Of its runs.

    Raises:
        AblateError: The file does not read; it is named.
    """
    file = folder / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"{type(found).__name__} in place of a mapping")
        return _study(found)
    except FileNotFoundError:
        return None
    # What a damaged or foreign file holds in place of a study goes wrong in any of these ways.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AblateError) as error:
        raise AblateError(f"{file} does not read as what a study asks: {error!r}") from error


def _study(found: Mapping[str, Any]) -> WrittenStudy:
    claims = dict.fromkeys(_claim(one) for one in found["claims"])
    return WrittenStudy(
        question=found["question"],
        source=found["source"],
        fixed=tuple(found.get("fixed", ())),
        baseline=found["baseline"],
        metric=found["metric"],
        margin=found["margin"],
        target=found.get("target"),
        equal=found["equal"],
        arms={name: _arm(arm) for name, arm in found["arms"].items()},
        tuning=_tuning(found["tuning"]),
        measure=_measure(found.get("measure")),
        claims=tuple(claims),
        asked_as=_asked_as(found),
        command=tuple(found["command"]),
        runs=frozenset(found["runs"]) if "runs" in found else None,
        unmeasured=tuple(found.get("unmeasured", ())),
    )


def _arm(found: Mapping[str, Any]) -> WrittenArm:
    return WrittenArm(
        tuple(found.get("overrides", ())),
        tuple(found.get("seeds", ())),
        found["tuned"],
        found.get("grid") or {},
        tuple(found["on the grid's edge"]),
    )


def _claim(found: Mapping[str, Any]) -> Claim:
    """Read a claim; what says no more compares means with the baseline."""
    return Claim(
        found["arm"],
        found["metric"],
        found["direction"],
        found["margin"],
        found.get("against"),
        found.get("against_metric"),
        found.get("statistic", "mean"),
        words=found["claim"],
        source=found["source"],
        line=found.get("line") or 0,
    )


def _tuning(found: Mapping[str, Any] | None) -> Tuning | None:
    if not found:
        return None
    knobs = {name: tuple(values) for name, values in found["knobs"].items()}
    return Tuning(knobs, tuple(found["seeds"]), found["metric"])


def _measure(found: Mapping[str, Any] | None) -> Measurement | None:
    if not found:
        return None
    given = (found[command] for command in ("evaluate", "inspect"))
    evaluate, inspect = (None if words is None else tuple(words) for words in given)
    return Measurement(evaluate, inspect, found.get("line") or 0)


def _asked_as(found: Mapping[str, Any]) -> str | None:
    """Give the name of a shipped study, or the path of a file as it was named."""
    if "file" not in found and found["name"] not in shipped():
        return None  # written by a version that did not tell where the file lies
    return str(found.get("file") or found["name"])
