"""study.json: a study's question, tuned values and reported runs, in the folder of its runs.

It is written when a study runs, and read by the report; `ledger` names the last line of the ledger.
The names in the file are a contract: do not change them. Files of earlier versions lack some of the
names, and can still be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ablate import record, written
from ablate.config import files
from ablate.errors import AblateError
from ablate.record.ledger import sweep_lock
from ablate.study.claim import Claim
from ablate.study.study import Measurement, Study, Tuning, shipped

FILE: Final = "study.json"


@dataclass(frozen=True)
class WrittenArm:
    """An arm, as read from study.json.

    Attributes:
        overrides: The overrides that make it.
        seeds: Its seeds.
        tuned: Knob -> the value that tuning chose.
        grid: Its own values of the tuned knobs; empty if it used the study's.
        on_edge: Knobs whose chosen value is the first or last of its grid.
    """

    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    tuned: Mapping[str, str]
    grid: Mapping[str, Sequence[str]]
    on_edge: tuple[str, ...]


@dataclass(frozen=True)
class WrittenStudy:
    """A study, as read from study.json.

    Attributes:
        question: The question that the study asks.
        source: Where the question or its answer was published; may be empty.
        fixed: Overrides of every run.
        baseline: The arm that the others are compared with.
        metric: The primary metric.
        margin: The smallest difference in the primary metric that matters, or None.
        target: The validation error of `epochs_to_target`, or None.
        equal: What is held equal between arms: ``epochs`` or ``steps``.
        arms: Name -> arm.
        tuning: What was tuned for each arm, or None.
        measure: What is measured after training, or None.
        claims: The claims.
        asked_as: Its name for `+study=`; None if the file does not say where the study's file is.
        command: The other overrides of the request.
        runs: Keys of the runs that it reports; None if the file does not say.
        unmeasured: What could not be measured after training, one sentence each.
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
    """Write study.json; one that is there is replaced.

    Args:
        folder: The folder of its runs; created if missing.
        study: The study.
        choices: Tuned values: arm -> knob -> value.
        command: The request's overrides, other than the study's name.
        runs: Keys of the reported runs.
        unmeasured: What could not be measured after training, one sentence each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = described(study, choices) | {
        "unmeasured": list(unmeasured),
        "command": list(command),
        "runs": list(runs),
    }
    with sweep_lock(folder):
        _keep_foreign(folder / FILE)
        record.write_json(folder / FILE, told | {"ledger": record.latest_line(folder)})


def _keep_foreign(file: Path) -> None:
    """Move aside a file of this name that was not written by a study."""
    if not os.path.lexists(file):
        return
    try:  # opening a named pipe would wait for a writer
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except ValueError:
        found = None
    if not (isinstance(found, dict) and {"name", "question", "arms"} <= set(found)):
        written.set_aside(file)


def described(study: Study, choices: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the part of study.json that describes the study and its tuned values."""
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
    """Write a claim in full, with its defaults filled in."""
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
    """Read study.json, or None if there is none.

    Args:
        folder: The folder of the study's runs.

    Raises:
        AblateError: The file cannot be read as a study.
    """
    file = folder / FILE
    try:
        if file.exists() and not file.is_file():  # opening a named pipe would wait for a writer
            raise TypeError("it is not a file")
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"{type(found).__name__} in place of a mapping")
        return _study(found)
    except FileNotFoundError:
        return None
    # A damaged or foreign file may raise any of these.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AblateError) as error:
        raise AblateError(f"{file} cannot be read as a study: {error!r}") from error


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
    """Read a claim; if an old file leaves the rest out, it compares means with the baseline."""
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
    """Return the name of a shipped study, or the path of a file as the user gave it."""
    if "file" not in found and found["name"] not in shipped():
        return None  # an early version wrote this; it did not record the path
    return str(found.get("file") or found["name"])
