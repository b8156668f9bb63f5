"""The runs of a study, every arm with every seed, as cells of a request; and checks of its arms.

Runs are ordered by seed, then by arm, so the first runs already make a balanced comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from ablate import data
from ablate.config.course import epoch_steps
from ablate.errors import AblateError
from ablate.plan import data_checks
from ablate.plan.planning import Plan
from ablate.plan.request import Cell, merged
from ablate.plan.run import Run
from ablate.study.study import Arm, Study

Choice = dict[str, str]  # tuned knob -> chosen value


def of_study(
    study: Study, own: Sequence[str], choices: Mapping[str, Choice] | None = None
) -> list[Cell]:
    """List the runs that a study reports.

    Args:
        study: The study.
        own: Overrides of the request, which win over the study's.
        choices: Arm -> the values chosen by tuning.
    """
    seeds = {arm.name: study.seeds_of(arm) for arm in study.arms}
    longest = max(len(some) for some in seeds.values())
    return [
        _cell(study, arm, _given((choices or {}).get(arm.name, {})), seeds[arm.name][number], own)
        for number in range(longest)
        for arm in study.arms
        if number < len(seeds[arm.name])
    ]


def of_tuning(study: Study, own: Sequence[str]) -> list[Cell]:
    """List the runs that tune a study's nuisance knobs, separately for each arm."""
    assert study.tuning is not None, "only a study that tunes has tuning runs"
    return [
        replace(cell, study=None)
        for seed in study.tuning.seeds
        for arm in study.arms
        for choice in grid(study, arm)
        if (cell := _cell(study, arm, _given(choice), seed, own, f"{study.name}-tuning"))
    ]


def grid(study: Study, arm: Arm) -> list[Choice]:
    """List the settings of the knobs tuned for an arm, in the order of the file."""
    knobs = study.grid_of(arm)
    return [dict(zip(knobs, values, strict=True)) for values in product(*knobs.values())]


def _given(choice: Choice) -> list[str]:
    return [f"{name}={value}" for name, value in choice.items()]


def _cell(
    study: Study,
    arm: Arm,
    tuned: Sequence[str],
    seed: int,
    own: Sequence[str],
    name: str | None = None,
) -> Cell:
    last = [f"name={name}"] if name else []
    overrides = merged(
        [f"name={study.name}"], study.fixed, arm.overrides, tuned, own, [f"seed={seed}"], last
    )
    return Cell(tuple(overrides), arm.name, study.name, f"{study.file}, line {arm.line}")


# -- arms that can be compared ---------------------------------------------------------------------


def first_of_each(cells: Sequence[Cell]) -> list[Cell]:
    """Choose the first cell of each arm."""
    return list({cell.arm: cell for cell in reversed(cells)}.values())


def of_equal_steps(study: Study, cells: Sequence[Cell], firsts: Sequence[Run]) -> list[Cell]:
    """Set each arm's number of epochs so that all arms train about as many steps as the baseline.

    An epoch may have a different number of steps in each arm, so the nearest whole number of epochs
    is used. A run's record has its exact steps.

    Args:
        study: The study.
        cells: Its cells.
        firsts: One run of each arm, resolved from these cells.
    """
    each = {run.arm: _steps(run) for run in firsts}
    epochs, per_epoch = each[study.baseline.name]
    wanted = epochs * per_epoch
    return [
        replace(cell, overrides=tuple(merged(cell.overrides, [f"epochs={number}"])))
        for cell in cells
        for number in [max(1, round(wanted / each[cell.arm][1]))]
    ]


def _steps(run: Run) -> tuple[int, int]:
    """Return a run's number of epochs, and the steps in one epoch."""
    sizes = data_checks.sizes(run.config, data.facts(run.config["data"]))
    return run.config["epochs"], epoch_steps(sizes.train, run.config["batch_size"])


def check_arms(study: Study, plan: Plan) -> None:
    """Check that the arms of a study differ, and that they train equally long.

    Raises:
        AblateError: Two arms are the same run, or an arm trains more or fewer epochs than
            the baseline.
    """
    faults = []
    lines = {arm.name: arm.line for arm in study.arms}
    owner: dict[str, str] = {}
    for run in plan.runs:
        other = owner.setdefault(run.key, str(run.arm))
        if other != run.arm:
            faults.append(
                f"{study.file}, line {lines[str(run.arm)]}: the arm {run.arm} changes nothing: it"
                f" is the same as {other}"
            )
    epochs = {run.arm: run.config["epochs"] for run in plan.runs}
    if study.equal == "epochs":
        faults += [
            f"{study.file}, line {lines[arm.name]}: {arm.name} trains {epochs[arm.name]} epochs,"
            f" the baseline {epochs[study.baseline.name]}, but the study holds epochs equal"
            " (equal: steps would hold the steps equal)"
            for arm in study.arms
            if epochs[arm.name] != epochs[study.baseline.name]
        ]
    if faults:
        raise AblateError(*dict.fromkeys(faults))
