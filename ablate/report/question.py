"""The question of a report, from the study and the command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ablate.analyze import frames
from ablate.analyze.frames import Frames
from ablate.analyze.run_measures import metrics_of
from ablate.metrics import PRIMARY, metric_of
from ablate.study import study_json
from ablate.study.claim import Claim
from ablate.study.study_json import WrittenArm, WrittenStudy


@dataclass(frozen=True)
class Question:
    """The question of a report. A study states all of it, a sweep mostly nothing.

    Attributes:
        question: In words; without one, the report says what differs.
        baseline: The arm that others are compared with; None: the one whose knobs are at rest.
        metric: The primary one.
        margin: The smallest difference in it that matters, where nothing is claimed.
        target: The validation error that `epochs_to_target` is counted to, or None.
        claims: What is claimed of arms.
        tuned: Arm -> how it was tuned, in words.
        how: What else a reader should know about the method, one sentence each.
        command: The command that trains it again, if one is enough.
    """

    question: str | None = None
    baseline: str | None = None
    metric: str | None = None
    margin: float | None = None
    target: float | None = None
    claims: tuple[Claim, ...] = ()
    tuned: Mapping[str, str] = field(default_factory=dict)
    how: tuple[str, ...] = ()
    command: str | None = None


def completed(asked: Question, runs: pd.DataFrame) -> tuple[Question, list[str]]:
    """Add what the study asks, if all these runs belong to one.

    Args:
        asked: What the command line asks; it wins.
        runs: The runs frame.

    Returns:
        The completed question, and notes: what could not be measured, and claims that are against
        another baseline.

    Raises:
        AblateError: The study's own file cannot be read; it is named.
    """
    found = _study_of(runs)
    if found is None or asked.claims:
        return asked, _unjudged(asked, runs)
    study = _question_of(found)
    notes = [f"not measured after training: {fault}" for fault in found.unmeasured]
    there = metrics_of(runs[runs["status"] == "finished"])
    if asked.metric is None and _was_not_measured(found.metric, there):
        notes.append(f"no finished run has {found.metric}: arms are compared by {PRIMARY}")
        study = replace(study, metric=PRIMARY, margin=None)
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


def _unjudged(asked: Question, runs: pd.DataFrame) -> list[str]:
    """Note that a study's claims are not judged when other runs are mixed in."""
    studies = [str(name) for name in runs["study"].dropna().unique()]
    folders = {str(Path(path).parent) for path in runs["path"]}
    if asked.claims or not studies or len(folders) == 1:
        return []
    whose = f"the claims of {', '.join(studies)} are not judged"
    metric = asked.metric or PRIMARY
    return [
        f"runs from several folders are compared: {whose}, and arms are compared by {metric}"
        " (--metric names another); to judge a study's claims, report on that study alone"
    ]


def _was_not_measured(metric: str, there: Sequence[str]) -> bool:
    """Tell whether a metric is measured after training and no run has it."""
    return metric_of(metric).is_after_training and metric not in there


def as_last_asked(read: Frames) -> tuple[Frames, list[str]]:
    """Leave out runs in a study's folder that belong to an earlier version of the question.

    Args:
        read: What was read.

    Returns:
        The runs that the study asked for when it was last run, and a note about the others.

    Raises:
        AblateError: The study's own file cannot be read; it is named.
    """
    found = _study_of(read.runs)
    if found is None or found.runs is None:
        return read, []
    kept = frames.only(read, found.runs)
    if kept.runs.empty or len(kept.runs) == len(read.runs):
        return read, []
    others = len(read.runs) - len(kept.runs)
    note = (
        f"{others} runs in this folder are left out: the study did not ask for them when it was"
        " last run (it was edited, or run with other overrides)"
    )
    return kept, [note]


def judgeable(asked: Question, runs: pd.DataFrame) -> tuple[Question, list[str]]:
    """Leave out claims about which the runs hold no data.

    Args:
        asked: What is asked.
        runs: The runs frame.

    Returns:
        The rest, and a note about each claim that was left out.
    """
    arms, metrics = set(runs["arm"]), set(metrics_of(runs[runs["status"] == "finished"]))
    notes, judged = [], []
    for claim in asked.claims:
        what = claim.compared(asked.baseline or claim.arm)
        lost = [f"{arm} has no run" for arm in (what.arm, what.against) if arm not in arms]
        wanted = (what.metric, what.against_metric)
        lost += [f"no finished run has {name}" for name in wanted if name not in metrics]
        notes += [f"a claim about {claim.arm} is not judged: {why}" for why in lost[:1]]
        judged += [] if lost else [claim]
    return replace(asked, claims=tuple(judged)), notes


# -- the study of these runs -----------------------------------------------------------------------


def _study_of(runs: pd.DataFrame) -> WrittenStudy | None:
    """Read what the study wrote down, if all these runs belong to one."""
    folders = {str(Path(path).parent) for path in runs["path"]}
    if runs["study"].isna().any() or len(folders) != 1:
        return None
    return study_json.read(Path(folders.pop()))


def _question_of(study: WrittenStudy) -> Question:
    return Question(
        study.question,
        study.baseline,
        study.metric,
        study.margin,
        study.target,
        study.claims,
        {name: _tuned(arm) for name, arm in study.arms.items() if arm.tuned},
        tuple(_how(study)),
        _command(study),
    )


def _tuned(arm: WrittenArm) -> str:
    """Say what was chosen for an arm. At the edge of the grid, the best may lie beyond it."""
    return ", ".join(
        f"{name}={value}{' (edge of its grid)' if name in arm.on_edge else ''}"
        for name, value in arm.tuned.items()
    )


def _how(study: WrittenStudy) -> list[str]:
    told = [f"Source of the question: {study.source}."] if study.source else []
    if (tuning := study.tuning) is not None:
        grids = [_grid(tuning.knobs)]
        grids += [f"for {name}, {_grid(arm.grid)}" for name, arm in study.arms.items() if arm.grid]
        told.append(
            f"Each arm was tuned with the same budget: {'; '.join(grids)}, by the mean"
            f" {tuning.metric} over the seeds {', '.join(map(str, tuning.seeds))}, none of"
            " which is reported."
        )
    if (measure := study.measure) is not None:
        settings = {"evaluate": measure.evaluate, "inspect": measure.inspect}
        words = [
            " ".join((f"`ablate {command}`", *given))
            for command, given in settings.items()
            if given is not None
        ]
        told.append(
            f"Measured after training, on the recorded weights, as {' and '.join(words)} would;"
            " nothing was chosen by it."
        )
    return [*told, f"The arms trained for equal {study.equal}."]


def _grid(knobs: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name} among {', '.join(values)}" for name, values in knobs.items())


def _command(study: WrittenStudy) -> str | None:
    """Return the command that runs the study."""
    if study.asked_as is None:
        return None
    return shlex.join(["ablate", "run", f"+study={study.asked_as}", *study.command])
