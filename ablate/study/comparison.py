"""Plans and runs a study: tunes each arm, trains the arms, measures the trained runs.

The study and the tuned values are written beside its runs, to study.json; the report takes the
question, the claims and the baseline from there. A study that tunes is two plans, one after the
other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ablate import record
from ablate.errors import AblateError
from ablate.launch.execute import execute, outcome_of
from ablate.launch.outcome import Outcome, Stop, stops
from ablate.measure.finished import Wanted, lacks
from ablate.metrics import metric_of
from ablate.plan.planning import Plan, Planned, plan
from ablate.plan.request import Cell, Request, name_of
from ablate.plan.run import Run
from ablate.study import ledger, measurement, questions, study_json
from ablate.study.cells import (
    Choice,
    check_arms,
    first_of_each,
    grid,
    of_equal_steps,
    of_study,
    of_tuning,
)
from ablate.study.file import read_study
from ablate.study.grids import unless_shown_only
from ablate.study.study import Measurement, Study
from ablate.study.timing import not_alone


@dataclass(frozen=True)
class StudyPlan:
    """A study, planned.

    Attributes:
        study: The study.
        request: The rest of the user's request, without the study's name.
        tuning: The tuning runs, or None if nothing is tuned.
        reported: The runs to report; until tuning is done, tuned knobs have their first values.
    """

    study: Study
    request: Request
    tuning: Plan | None
    reported: Plan

    @property
    def plans(self) -> list[Plan]:
        """The plans, in the order in which they are trained."""
        return [self.reported] if self.tuning is None else [self.tuning, self.reported]

    @property
    def runs(self) -> list[Run]:
        """All runs: the tuning runs, then the reported ones."""
        return [run for planned in self.plans for run in planned.runs]


def plan_study(request: Request, *, whole: bool = False) -> StudyPlan:
    """Check and plan a study.

    Args:
        request: A request that names a study.
        whole: As in `plan`.

    Raises:
        AblateError: Something is wrong with the request or with the study's file; nothing was
            started.
    """
    name, scale = request.study, request.scale
    assert name is not None, "the request names a study"
    own = tuple(o for o in request.overrides if not o.startswith("+study="))
    request = replace(request, overrides=own, multirun=True)
    found = read_study(name, scale)
    request = replace(request, files=(found.file,))
    _require_free(found, own)
    _require_few(found, request)
    tuning = None
    if found.tuning is not None:
        tuning = _planned(found, request, of_tuning(found, own), whole)
    # Tuned knobs get their first values for now, so that faults are found before any training.
    first = {arm.name: choice for arm in found.arms for choice in grid(found, arm)[:1]}
    reported = _reported(found, request, first, whole)
    if faults := [*measurement.unfit(found, reported.runs), *not_alone(found, reported.runs)]:
        raise AblateError(*faults)
    return StudyPlan(found, request, tuning, reported)


def run_study(comparison: StudyPlan) -> Outcome:
    """Note what is claimed; tune, train the reported runs, then measure them."""
    with stops() as caught:
        asked = questions.of_study(comparison.study, comparison.request.overrides)
        with unless_shown_only(comparison.reported):
            ledger.note_claims(_sweep(comparison), asked, len(comparison.reported.runs))
    if caught:
        return outcome_of(comparison.reported, caught[0])
    if comparison.tuning is None:
        return _reported_on(comparison, {})
    before = _executed(comparison.tuning)
    if before.stop is not None:
        return outcome_of(comparison.reported, before.stop).after(before)
    choices = tuned(comparison.study, comparison.tuning.cells)
    if isinstance(choices, Stop):
        return outcome_of(comparison.reported, choices).after(before)
    chosen = _reported(comparison.study, comparison.request, choices)
    return _reported_on(replace(comparison, reported=chosen), choices).after(before)


def _reported_on(comparison: StudyPlan, choices: Mapping[str, Choice]) -> Outcome:
    """Train and measure the reported runs; write study.json for the report."""
    found, reported = comparison.study, comparison.reported
    outcome, faults = None, list[str]()
    with stops() as caught:
        _write(comparison, choices, ())
        outcome = _executed(reported)
        if found.measure is not None and outcome.stop is None:
            faults = _measured(reported.runs, found.measure)
            _write(comparison, choices, faults)
    if outcome is None or caught:
        outcome = outcome_of(reported, caught[0])
    return replace(outcome, faults=tuple(faults))


def _measured(runs: Sequence[Run], measure: Measurement) -> list[str]:
    """Measure what the records lack; return what could not be measured, one sentence each."""
    asked = measurement.wanted(measure)
    distinct = {run.directory: run for run in runs}
    left = [run for run in distinct.values() if _lacks(run, asked)]
    if not left:
        return []
    from ablate.study.measuring import measure_all  # loads torch

    return measure_all(left, len(distinct), measure)


def _lacks(run: Run, asked: Wanted) -> bool:
    found = record.read(run.directory)
    return found is not None and found["status"] == "finished" and bool(lacks(found, asked))


def _executed(planned: Plan) -> Outcome:
    """Train a plan; records of an earlier version of the study get their current names."""
    outcome = execute(planned)
    if outcome.stop is None:
        for run in planned.runs:
            _label(run)
    return outcome


def _reported(
    found: Study, request: Request, choices: Mapping[str, Choice], whole: bool = False
) -> Plan:
    planned = _planned(found, request, of_study(found, request.overrides, choices), whole)
    check_arms(found, planned)
    return planned


def _planned(found: Study, request: Request, cells: Sequence[Cell], whole: bool = False) -> Plan:
    if found.equal == "steps":
        firsts = plan(replace(request, cells=tuple(first_of_each(cells)))).runs
        cells = of_equal_steps(found, cells, firsts)
    return plan(replace(request, cells=tuple(cells)), whole=whole)


def _write(comparison: StudyPlan, choices: Mapping[str, Choice], unmeasured: Sequence[str]) -> None:
    with unless_shown_only(comparison.reported):
        study_json.write(
            _sweep(comparison),
            comparison.study,
            choices,
            command=comparison.request.overrides,
            runs=[run.key for run in comparison.reported.runs],
            unmeasured=unmeasured,
        )


def _sweep(comparison: StudyPlan) -> Path:
    return comparison.reported.runs[0].sweep


def _require_free(study: Study, overrides: Sequence[str]) -> None:
    """Check that a request sets nothing that the study decides.

    Raises:
        AblateError: It sets a tuned knob or the seed, or names several values.
    """
    if swept := [o for o in overrides if _sweeps(o)]:
        raise AblateError(f"{swept[0]} names several values: a study's arms are in its file")
    tuned_knobs = (
        [name for arm in study.arms for name in study.grid_of(arm)] if study.tuning else []
    )
    reasons = dict.fromkeys(tuned_knobs, "the study tunes it")
    reasons |= dict.fromkeys(("seed", "seeds"), "the study sets the seeds of its arms")
    faults = [
        f"{override}: {reasons[name_of(override)]} ({study.file}{_how_to_reseed(override)})"
        for override in overrides
        if name_of(override) in reasons
    ]
    if faults:
        raise AblateError(*faults)


def _how_to_reseed(override: str) -> str:
    if name_of(override) not in ("seed", "seeds"):
        return ""
    return (
        "; scale=full may have more): for others copy the file, change seeds: there, and name the"
        " copy (+study=path/to/copy.yaml"
    )


def _require_few(study: Study, request: Request) -> None:
    """Count a study's runs before anything lists them.

    Raises:
        AblateError: There are more than `max_runs`.
    """
    runs = sum(len(study.seeds_of(arm)) for arm in study.arms)
    if study.tuning is not None:
        settings = [math.prod(map(len, study.grid_of(arm).values())) for arm in study.arms]
        runs += sum(settings) * len(study.tuning.seeds)
    if runs > request.max_runs:
        raise AblateError(
            f"{study.file}: that is {runs:,} runs, more than max_runs={request.max_runs}: use"
            " fewer seeds, arms or tuned values, or raise max_runs"
        )


def _sweeps(override: str) -> bool:
    """Tell whether an override names several values; if it does not parse, planning reports it."""
    try:
        return bool(OverridesParser.create().parse_override(override).is_sweep_override())
    except HydraException:
        return False


def _label(run: Run) -> None:
    """Write the current study and arm into a record that an earlier version of the study left."""
    if _has_its_names(run, record.read(run.directory)):
        return
    with record.claim(run.directory):
        now = record.read(run.directory)  # another process may have written meanwhile
        if now is not None and not _has_its_names(run, now):
            record.write(run.directory, now | {"study": run.study, "arm": run.arm})


def _has_its_names(run: Run, found: record.Record | None) -> bool:
    return found is None or (found["study"], found["arm"]) == (run.study, run.arm)


# -- tuning ----------------------------------------------------------------------------------------


def tuned(study: Study, planned: Sequence[Planned]) -> dict[str, Choice] | Stop:
    """Choose for each arm the setting with the best mean of the tuning metric over tuning seeds.

    A setting with a failed or diverged run is not chosen; among equals, the first one is.

    Returns:
        Arm -> its setting; or a stop, if no setting of an arm finished.
    """
    assert study.tuning is not None, "the study tunes"
    metric = study.tuning.metric
    sign = -1 if metric_of(metric).better == "higher" else 1
    chosen: dict[str, Choice] = {}
    for arm in study.arms:
        settings = grid(study, arm)
        scores = [
            _mean(_validation(plan.run, metric, sign) for plan in planned if _is_of(plan, arm, s))
            for s in settings
        ]
        best = min(range(len(settings)), key=lambda i: (scores[i], i))
        if not math.isfinite(scores[best]):
            return Stop(
                "untuned",
                f"no setting of {', '.join(study.grid_of(arm))} finished for the arm {arm.name}:"
                " `ablate show` says what went wrong with the tuning runs",
            )
        chosen[arm.name] = settings[best]
    return chosen


def _is_of(plan: Planned, arm: Any, setting: Choice) -> bool:
    given = {f"{name}={value}" for name, value in setting.items()}
    return plan.run.arm == arm.name and given <= {o.lstrip("+") for o in plan.overrides}


def _validation(run: Run, metric: str, sign: int) -> float:
    """Read the number that tuning minimizes; infinite if the run did not finish."""
    found = record.read(run.directory)
    value = None if found is None else found["metrics"].get(metric)
    return math.inf if value is None else sign * float(value)


def _mean(values: Any) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.inf
