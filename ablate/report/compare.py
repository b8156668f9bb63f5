"""What a report is about: the runs below some paths, their arms, and how these compare.

All results are worked out here, in `explore` and in `origin`; the pages only render them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ablate.analyze import caveats, effects, factors, frames
from ablate.analyze.contrasts import (
    CLAIMS,
    baseline_of,
    compared,
    contrasts,
    descriptions_of,
    to_baseline,
)
from ablate.analyze.frames import Frames
from ablate.analyze.looks import look_at, planned_only
from ablate.analyze.run_measures import metrics_of
from ablate.analyze.summaries import arms, counts
from ablate.errors import AblateError, listed, nearest
from ablate.metrics import PRIMARY, TIMES, metric_of
from ablate.report import labels
from ablate.report.question import Question, as_last_asked, completed, judgeable
from ablate.report.result import LOST, Line, line_of
from ablate.study.claim import Claim
from ablate.study.story import Story, looked_at

Paths = Sequence[str | Path]

COST = "seconds"
_OF_AN_ARM = ["arm", "mean", "ci_low", "ci_high", "n", *LOST]
_OF_A_CONTRAST = [
    *("arm", "n", "n_untrained", "n_baseline_untrained", "paired", "identical"),
    *("delta", "low", "high", "alpha", "look", "p", "p_adjusted", "p_networks"),
    *("verdict", "description", "direction", "margin", "family", "family_size", "population"),
]


@dataclass(frozen=True)
class Comparison:
    """The runs, and the arms compared.

    Attributes:
        asked: What was asked on the command line and by the study.
        paths: What was read.
        frames: What was read from it.
        metric: The primary metric.
        baseline: The arm that others are compared with.
        arms: One row per arm and metric (`ablate.analyze.summaries`).
        contrasts: One row per arm and metric (`ablate.analyze.contrasts`).
        effects: One row per effect of a factor on the primary metric (`ablate.analyze.effects`).
        effects_lack: Why some effects are missing, or None.
        notes: What weakens the comparison, one sentence each.
        identical: Groups of arms that are the same to the last bit.
        story: What the ledger tells of these runs.
    """

    asked: Question
    paths: tuple[str, ...]
    frames: Frames
    metric: str
    baseline: str
    arms: pd.DataFrame
    contrasts: pd.DataFrame
    effects: pd.DataFrame
    effects_lack: str | None
    notes: tuple[str, ...]
    identical: tuple[tuple[str, ...], ...]
    story: Story = field(default_factory=Story)

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run."""
        return self.frames.runs

    @cached_property
    def lines(self) -> dict[str, Line]:
        """Arm -> its line for the primary metric."""
        return self.of(self.metric)

    @cached_property
    def labels(self) -> dict[str, str]:
        """A short label of each arm, by arm."""
        return labels.labels(list(self.lines), self.baseline)

    def labelled(self, line: Line) -> Line:
        """Let a line name its arms by their labels."""
        label = self.labels.get
        arm, compared = label(line.arm, line.arm), line.what
        if compared is not None:
            against = label(compared.against, compared.against)
            compared = compared._replace(arm=label(compared.arm, compared.arm), against=against)
        return replace(line, arm=arm, what=compared)

    def of(self, metric: str) -> dict[str, Line]:
        """Like `lines`, for any metric."""
        against = self.contrasts[self.contrasts["metric"] == metric]
        rows = _rows(to_baseline(against, self.baseline))
        contrast = {one["arm"]: one for one in rows}
        cost, about = self._cost, records(self.arms.loc[self.arms["metric"] == metric, _OF_AN_ARM])
        return {
            a["arm"]: line_of(a, contrast.get(a["arm"]), cost.get(a["arm"], nan)) for a in about
        }

    @cached_property
    def claimed(self) -> list[tuple[Claim, Line]]:
        """Each claim, with the line that makes the comparison it claims."""
        rows = _rows(self.contrasts[self.contrasts["family"] == CLAIMS])
        contrast = {one["what"]: one for one in rows}
        found = []
        for claim in self.asked.claims:
            of_arm = (self.arms["metric"] == claim.metric) & (self.arms["arm"] == claim.arm)
            (about,) = records(self.arms.loc[of_arm, _OF_AN_ARM])
            row = contrast[claim.compared(self.baseline)]
            found.append((claim, line_of(about, row, self._cost.get(claim.arm, nan))))
        return found

    @property
    def _cost(self) -> dict[str, float]:
        found = self.arms[self.arms["metric"] == COST].set_index("arm")["mean"]
        return cast(dict[str, float], found.to_dict())

    @property
    def others(self) -> list[Line]:
        """The lines of all arms but the baseline."""
        return [line for line in self.lines.values() if line.arm != self.baseline]

    def foremost(self, most: int) -> list[str]:
        """Choose arms for a figure or a screen that cannot hold all of them.

        Returns:
            All arms if there are few. Otherwise the baseline and the best by the primary metric, or
            those furthest from the baseline where neither side is better. In the frame's order.
        """
        if len(self.lines) <= most:
            return list(self.lines)
        side = metric_of(self.metric).better

        def place(line: Line) -> float:
            if side is None:
                return -abs(line.delta)
            return line.mean if side == "lower" else -line.mean

        known = [line for line in self.others if not isnan(place(line))]
        first = sorted(known, key=place)[: most - 1]
        chosen = {self.baseline, *(line.arm for line in first)}
        return [arm for arm in self.lines if arm in chosen]

    def choice(self, most: int) -> str:
        """Say at the end of a caption which arms `foremost` chose; nothing if it chose all."""
        if (count := len(self.lines)) <= most:
            return ""
        which = "best" if metric_of(self.metric).better else "furthest from it"
        return f" Of {count} arms, the baseline and the {most - 1} {which} are shown."


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a frame into one dict per row."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))


def _rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn contrasts into one dict per row, with what each compares."""
    rows = zip(compared(found), records(found[_OF_A_CONTRAST]), strict=True)
    return [row | {"what": what} for what, row in rows]


def compare(paths: Paths, asked: Question | None = None, *, brief: bool = False) -> Comparison:
    """Read runs and compare their arms; note in their ledger that results were looked at.

    Args:
        paths: Folders of runs, of sweeps, or any above; compared together.
        asked: What the comparison is to answer.
        brief: Compare by the primary metric alone.

    Raises:
        AblateError: No record reads, no run has finished, or there is no such arm or metric.
    """
    subject = _subject(paths, asked or Question())
    read, question, metric = subject.frames, subject.question, subject.metric
    identical = tuple(caveats.identical_arms(read))
    story = looked_at([Path(path) for path in read.runs["path"]], read.glimpses)
    runs = planned_only(read.runs, story)
    factorial = factors.factorial(runs, metric)
    metrics = [metric, COST, *subject.claimed] if brief else None
    dropped = max(subject.claims, story.claims) - len(question.claims)
    found = contrasts(
        runs,
        np.random.default_rng(0),  # the same report of the same runs
        baseline=subject.baseline,
        metrics=metrics,
        primary=metric,
        margin=question.margin,
        claims=question.claims,
        unjudged=dropped if question.claims else 0,
        effects=len(factorial.effects),
        identical=identical,
        look=lambda what, alpha: look_at(story, read.runs, what.arm, what.against, alpha),
        brief=brief,
    )
    told = (f"ledger: {sentence}" for sentence in story.sentences)
    return Comparison(
        question,
        tuple(str(path) for path in paths),
        read,
        metric,
        subject.baseline,
        arms(runs, None if metrics is None else list(dict.fromkeys(metrics))),
        found,
        _effects(runs, factorial, found, metric, question.margin),
        factorial.lacks,
        (*subject.notes, *caveats.notes(read), *caveats.doubts(found), *told),
        identical,
        story,
    )


@dataclass(frozen=True)
class _Subject:
    """The runs and the question, settled before anything is estimated.

    Attributes:
        frames: What was read.
        question: What is asked, less the claims that cannot be judged.
        metric: The primary metric.
        baseline: The arm that others are compared with.
        claims: How many claims there are, counting those that cannot be judged.
        notes: What had to be left out or replaced, one sentence each.
    """

    frames: Frames
    question: Question
    metric: str
    baseline: str
    claims: int
    notes: tuple[str, ...]

    @property
    def claimed(self) -> list[str]:
        """The metrics of all claims."""
        both = ((claim.metric, claim.against_metric) for claim in self.question.claims)
        return [name for names in both for name in names if name is not None]


def _subject(paths: Paths, asked: Question) -> _Subject:
    """Read runs, and settle the question.

    Raises:
        AblateError: As `compare`.
    """
    read, notes = as_last_asked(frames.read(paths, shown=True))
    _require_finished(read.runs, paths)
    whole, swapped = completed(asked, read.runs)
    short = []
    if whole.target is not None:
        read = frames.with_target(read, whole.target)
        short = caveats.short_of_target(read.runs, whole.target)
    question, unjudged = judgeable(whole, read.runs)
    metric = question.metric or PRIMARY
    _require_metric(read.runs, metric)
    baseline, moved = _baseline(read.runs, question.baseline)
    notes = [*notes, *swapped, *unjudged, *moved, *short]
    subject = _Subject(read, question, metric, baseline, len(whole.claims), tuple(notes))
    if not {metric, *subject.claimed} & {*TIMES}:
        return subject
    return replace(subject, notes=(*notes, *caveats.shared_time(read.runs)))


def _effects(
    runs: pd.DataFrame,
    asked: factors.Factorial,
    found: pd.DataFrame,
    metric: str,
    margin: float | None,
) -> pd.DataFrame:
    """Estimate the effects of factors, in one family with the described arms."""
    arms = int((found["family"] == descriptions_of(metric)).sum())
    size = arms + len(asked.effects)
    return effects.estimated(runs, asked, size, metric=metric, margin=margin)


def _require_finished(runs: pd.DataFrame, paths: Paths) -> None:
    if (runs["status"] == "finished").any():
        return
    states = ", ".join(
        f"{count} {status}" for status, count in runs["status"].value_counts().items()
    )
    reasons = runs[runs["reason"].notna()]
    first = "" if reasons.empty else f"; {reasons['path'].iloc[0]}: {reasons['reason'].iloc[0]}"
    where = listed([str(path) for path in paths])
    raise AblateError(f"no run below {where} has finished ({states}): nothing to report{first}")


def _require_metric(runs: pd.DataFrame, metric: str) -> None:
    legal = metrics_of(runs[runs["status"] == "finished"])
    if metric not in legal:
        known = f"it is one of {listed(legal)}{nearest(metric, legal)}"
        raise AblateError(f"no finished run has the metric {metric}: {known}")


def _baseline(runs: pd.DataFrame, name: str | None) -> tuple[str, list[str]]:
    """Choose the baseline. If nobody named one, take an arm with finished runs."""
    chosen = baseline_of(runs, name)
    done = counts(runs)["n_finished"]
    if name is not None or done[chosen] > 0:
        return chosen, []
    other = str(done.index[done > 0][0])
    return other, [f"{chosen} has no finished run: the baseline is {other} instead"]
