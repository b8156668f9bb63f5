"""What a report is to answer: as a study wrote it down, and as the command line asks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ablate.analyze import frames
from ablate.analyze.after_training import is_measured
from ablate.analyze.frames import Frames
from ablate.analyze.run_measures import metrics_of
from ablate.analyze.verdicts import Claim
from ablate.errors import AblateError
from ablate.study.study import FILE

METRIC = "test/error"  # the primary one, where nobody says another


@dataclass(frozen=True)
class Asked:
    """What a report is to answer; a study states all of it, a sweep mostly nothing.

    Attributes:
        question: In words; without one, the report says what differs.
        baseline: The arm that others are compared with; else the one at rest.
        metric: The primary one.
        margin: The smallest difference in it that matters, where nothing is claimed.
        target: The validation error that `epochs_to_target` is counted to, or None.
        claims: What is claimed of arms.
        words: Each claim in words and its source.
        tuned: How an arm was tuned, in words, by its name.
        how: What else a reader is to know of how it was done, a sentence each.
        command: What trains it again, where one command does.
        unmeasured: What could not be measured after training, a sentence each.
    """

    question: str | None = None
    baseline: str | None = None
    metric: str | None = None
    margin: float | None = None
    target: float | None = None
    claims: tuple[Claim, ...] = ()
    words: Mapping[Claim, tuple[str, str]] = field(default_factory=dict)
    tuned: Mapping[str, str] = field(default_factory=dict)
    how: tuple[str, ...] = ()
    command: str | None = None
    unmeasured: tuple[str, ...] = ()


def completed(asked: Asked, runs: pd.DataFrame) -> tuple[Asked, list[str]]:
    """Add what the study of these runs asks, if they are all of one.

    Args:
        asked: What the command line asks; it wins.
        runs: The runs frame.

    Returns:
        The whole, and what to note: what could not be measured, claims that are against another
        baseline.

    Raises:
        AblateError: What the study wrote down does not read; the file is named.
    """
    study = _study_of(runs)
    if study is None or asked.claims:
        return asked, []
    notes = [f"not measured after training: {fault}" for fault in study.unmeasured]
    there = metrics_of(runs[runs["status"] == "finished"])
    if asked.metric is None and _is_missing(study.metric, there):
        notes.append(f"no finished run has {study.metric}: arms are compared by {METRIC}")
        study = replace(study, metric=METRIC, margin=None)
    metric = asked.metric or study.metric
    baseline = asked.baseline or study.baseline
    question = asked.question or study.question
    whole = replace(study, baseline=baseline, metric=metric, question=question)
    if metric != study.metric:
        whole = replace(whole, margin=asked.margin)
    if asked.baseline not in (None, study.baseline):
        note = f"the study's claims are against {study.baseline}: they are not judged here"
        return replace(whole, claims=()), [*notes, *([note] if study.claims else [])]
    return whole, notes


def _is_missing(metric: str | None, there: Sequence[str]) -> bool:
    """Tell of a metric that is measured after training whether no run has it."""
    return metric is not None and is_measured(metric) and metric not in there


def as_last_asked(read: Frames) -> tuple[Frames, list[str]]:
    """Leave out runs that a study's folder holds of what it asked before.

    Args:
        read: What was read.

    Returns:
        The runs that the study asked for when it was last run, and a note of the others.

    Raises:
        AblateError: What the study wrote down does not read; the file is named.
    """
    found = _written(read.runs)
    if found is None or "runs" not in found:
        return read, []
    kept = frames.only(read, set(found["runs"]))
    if kept.runs.empty or len(kept.runs) == len(read.runs):
        return read, []
    others = len(read.runs) - len(kept.runs)
    note = (
        f"{others} runs of this folder are left out: when it was last run, the study asked for"
        " others (it was edited, or run with other overrides)"
    )
    return kept, [note]


def judgeable(asked: Asked, runs: pd.DataFrame) -> tuple[Asked, list[str]]:
    """Leave out claims of which the runs hold nothing.

    Args:
        asked: What is asked.
        runs: The runs frame.

    Returns:
        The rest, and a note of each claim that was left out.
    """
    arms, metrics = set(runs["arm"]), set(metrics_of(runs[runs["status"] == "finished"]))
    notes, judged = [], []
    for claim in asked.claims:
        what = claim.compared(asked.baseline or claim.arm)
        lost = [f"{arm} has no run" for arm in (what.arm, what.against) if arm not in arms]
        wanted = (what.metric, what.against_metric)
        lost += [f"no finished run has {name}" for name in wanted if name not in metrics]
        notes += [f"a claim is not judged, of {claim.arm}: {why}" for why in lost[:1]]
        judged += [] if lost else [claim]
    return replace(asked, claims=tuple(judged)), notes


def _study_of(runs: pd.DataFrame) -> Asked | None:
    """Read what the one study of all these runs asks, if there is one."""
    found = _written(runs)
    if found is None:
        return None
    try:
        return _read(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(_file(runs), error) from error


def _written(runs: pd.DataFrame) -> dict[str, Any] | None:
    """Read what the one study of all these runs wrote down, if there is one."""
    file = _file(runs)
    try:
        found = None if file is None else json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    if found is not None and not isinstance(found, dict):
        raise _unreadable(file, TypeError(f"{type(found).__name__} in place of a mapping"))
    return found


def _file(runs: pd.DataFrame) -> Path | None:
    folders = {str(Path(path).parent) for path in runs["path"]}
    if runs["study"].isna().any() or len(folders) != 1:
        return None
    return Path(folders.pop()) / FILE


def _unreadable(file: Path | None, error: Exception) -> AblateError:
    return AblateError(f"{file} does not read as what a study asks: {error!r}")


def _read(found: Mapping[str, Any]) -> Asked:
    words = {_claim(one): (one["claim"], one["source"]) for one in found["claims"]}
    return Asked(
        found["question"],
        found["baseline"],
        found["metric"],
        found["margin"],
        found.get("target"),
        tuple(words),
        words,
        {name: _tuned(arm) for name, arm in found["arms"].items() if arm["tuned"]},
        tuple(_how(found)),
        _command(found),
        tuple(found.get("unmeasured", ())),
    )


def _claim(one: Mapping[str, Any]) -> Claim:
    """Read a claim; what says no more compares means with the baseline."""
    asked = (one["arm"], one["metric"], one["direction"], one["margin"])
    return Claim(
        *asked, one.get("against"), one.get("against_metric"), one.get("statistic", "mean")
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
        grids = [_grid(tuning["knobs"])]
        own = {name: arm.get("grid") for name, arm in found["arms"].items()}
        grids += [f"for {name}, {_grid(knobs)}" for name, knobs in own.items() if knobs]
        told.append(
            f"Tuned for each arm alike, with equal budgets: {'; '.join(grids)}, by the mean"
            f" {tuning['metric']} of the seeds {', '.join(map(str, tuning['seeds']))}, none of"
            " which is reported."
        )
    if measure := found.get("measure"):
        words = [
            " ".join((f"`ablate {command}`", *measure[command]))
            for command in ("evaluate", "inspect")
            if measure[command] is not None
        ]
        told.append(
            f"Measured after training, on the recorded weights, by what {' and '.join(words)} do;"
            " nothing was chosen by it."
        )
    return [*told, f"The arms trained for equal {found['equal']}."]


def _grid(knobs: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name} among {', '.join(values)}" for name, values in knobs.items())


def _command(found: Mapping[str, Any]) -> str | None:
    """Give the command that runs the study: a shipped one, or a file as it was named."""
    from ablate.study.study import shipped

    name = found.get("file") or found["name"]
    if "file" not in found and name not in shipped():
        return None  # written by a version that did not tell where the file lies
    return shlex.join(["ablate", "run", f"+study={name}", *found["command"]])
