"""What a report is to answer: as a study wrote it down, and as the command line asks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.analyze.verdicts import Claim
from ablate.errors import AblateError

METRIC = "test/error"  # the primary one, where nobody says another
_FILE = "study.json"  # as `ablate.launch.study` writes it, which imports what trains


@dataclass(frozen=True)
class Asked:
    """What a report is to answer; a study states all of it, a sweep mostly nothing.

    Attributes:
        question: In words; without one, the report says what differs.
        baseline: The arm that others are compared with; else the one at rest.
        metric: The primary one.
        margin: The smallest difference in it that matters, where nothing is claimed.
        claims: What is claimed of arms.
        words: Each claim in words and its source, by arm and metric.
        tuned: How an arm was tuned, in words, by its name.
        how: What else a reader is to know of how it was done, a sentence each.
        command: What trains it again, where one command does.
    """

    question: str | None = None
    baseline: str | None = None
    metric: str | None = None
    margin: float | None = None
    claims: tuple[Claim, ...] = ()
    words: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    tuned: Mapping[str, str] = field(default_factory=dict)
    how: tuple[str, ...] = ()
    command: str | None = None


def completed(asked: Asked, runs: pd.DataFrame) -> tuple[Asked, list[str]]:
    """Add what the study of these runs asks, if they are all of one.

    Args:
        asked: What the command line asks; it wins.
        runs: The runs frame.

    Returns:
        The whole, and what to note of claims that cannot be judged.

    Raises:
        AblateError: What the study wrote down does not read; the file is named.
    """
    study = _study_of(runs)
    if study is None or asked.claims:
        return asked, []
    metric = asked.metric or study.metric
    baseline = asked.baseline or study.baseline
    question = asked.question or study.question
    whole = replace(study, baseline=baseline, metric=metric, question=question)
    if metric != study.metric:
        whole = replace(whole, margin=asked.margin)
    if asked.baseline not in (None, study.baseline):
        note = f"the study's claims are against {study.baseline}: they are not judged here"
        return replace(whole, claims=()), [note] if study.claims else []
    arms = set(runs["arm"])
    lost = [claim.arm for claim in whole.claims if claim.arm not in arms]
    notes = [f"a claim is not judged, of {arm}: it has no run" for arm in lost]
    return replace(whole, claims=tuple(c for c in whole.claims if c.arm in arms)), notes


def _study_of(runs: pd.DataFrame) -> Asked | None:
    """Read what the one study of all these runs wrote down, if there is one."""
    folders = {str(Path(path).parent) for path in runs["path"]}
    if runs["study"].isna().any() or len(folders) != 1:
        return None
    file = Path(folders.pop()) / _FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return _read(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AblateError(f"{file} does not read as what a study asks: {error!r}") from error


def _read(found: Mapping[str, Any]) -> Asked:
    claims = [
        Claim(one["arm"], one["metric"], one["direction"], one["margin"]) for one in found["claims"]
    ]
    return Asked(
        found["question"],
        found["baseline"],
        found["metric"],
        found["margin"],
        tuple(claims),
        {(one["arm"], one["metric"]): (one["claim"], one["source"]) for one in found["claims"]},
        {name: _tuned(arm) for name, arm in found["arms"].items() if arm["tuned"]},
        tuple(_how(found)),
        _command(found),
    )


def _tuned(arm: Mapping[str, Any]) -> str:
    """Say what was chosen for an arm; at the edge of its grid the best may lie beyond."""
    edge = arm["on the grid's edge"]
    return ", ".join(
        f"{name}={value}{' (edge of its grid)' if name in edge else ''}"
        for name, value in arm["tuned"].items()
    )


def _how(found: Mapping[str, Any]) -> list[str]:
    told = [f"Source of the question: {found['source']}."] if found["source"] else []
    if tuning := found["tuning"]:
        grids = "; ".join(f"{name} among {', '.join(v)}" for name, v in tuning["knobs"].items())
        told.append(
            f"Tuned for each arm alike, with equal budgets: {grids}, by the mean {tuning['metric']}"
            f" of the seeds {', '.join(map(str, tuning['seeds']))}, none of which is reported."
        )
    return [*told, f"The arms trained for equal {found['equal']}."]


def _command(found: Mapping[str, Any]) -> str | None:
    """Give the command of a shipped study; where a user's own file lies is not known."""
    from ablate.plan.study import shipped

    if found["name"] not in shipped():
        return None
    return shlex.join(["ablate", "run", f"+study={found['name']}", *found["command"]])
