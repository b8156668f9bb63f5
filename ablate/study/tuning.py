"""Reads what a study's file tunes for its arms, and reports what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ablate.config.schema import shown
from ablate.errors import listed
from ablate.metrics import METRICS
from ablate.study.study import Arm, Tuning

Grid = dict[str, tuple[str, ...]]
Fault = Callable[[str, str], None]

FIRST_SEED = 1_000_000  # far from any reported seed


def read_values(path: str, values: Any, fault: Fault) -> tuple[str, ...]:
    """Read the values of a knob or factor."""
    if not isinstance(values, list) or len(values) < 2:
        fault(path, f"{path} must be a list of at least two values")
        return ("", "")
    return tuple(value if isinstance(value, str) else shown(value) for value in values)


def read_grid(path: str, knobs: Any, fault: Fault) -> Grid | None:
    """Read a grid: knobs, and the values of each."""
    if not isinstance(knobs, dict) or not knobs:
        fault(path, f"{path} must be a mapping: a knob, and a list of its values")
        return None
    return {str(knob): read_values(f"{path}.{knob}", v, fault) for knob, v in knobs.items()}


def read_tuning(
    given: Any,
    arms: Sequence[Arm],
    reported: set[int],
    seeds_of: Callable[[str, Any], tuple[int, ...]],
    fault: Fault,
) -> Tuning | None:
    """Read what is tuned, and check it against the arms.

    Args:
        given: The value of `tune` in the file; None tunes nothing.
        arms: The arms; some may have their own grids.
        reported: Seeds of reported runs.
        seeds_of: Reads a list of seeds.
        fault: Records a fault: its place in the file, and what is wrong.
    """
    if given is None:
        for arm in arms:
            if arm.grid is not None:
                fault(
                    f"arms.{arm.name}.tune", f"{arm.name} has a grid, but the study tunes nothing"
                )
        return None
    if not isinstance(given, dict) or set(given) - {"knobs", "seeds", "metric"}:
        fault("tune", "tune needs knobs (a mapping: knob, and a list of values) and seeds")
        return None
    if (knobs := read_grid("tune.knobs", given.get("knobs"), fault)) is None:
        return None
    own = given.get("seeds", 2)
    counted = type(own) is int and own > 0
    chosen = range(FIRST_SEED, FIRST_SEED + own) if counted else seeds_of("tune.seeds", own)
    if both := reported & set(chosen):
        fault("tune.seeds", f"the seed {min(both)} is used for tuning and is reported too")
    for arm in arms:
        _check_arm(arm, knobs, fault)
    metric = str(given.get("metric", "val/error"))
    legal = [m.name for m in METRICS.values() if m.place == "val" and m.kind == "recorded"]
    if metric not in legal:
        told = f"tune.metric={metric}: only validation metrics (val/...) may tune: {listed(legal)}"
        fault("tune.metric", told)
    return Tuning(knobs, tuple(chosen), metric)


def _check_arm(arm: Arm, shared: Grid, fault: Fault) -> None:
    """Check that an arm has as many settings as the study, and sets nothing that is tuned."""
    place = "tune.knobs" if arm.grid is None else f"arms.{arm.name}.tune"
    grid = shared if arm.grid is None else arm.grid
    own, budget = (math.prod(map(len, knobs.values())) for knobs in (grid, shared))
    if own != budget:
        told = f"{arm.name} has {own} settings to tune, the study {budget}: these must be equal"
        fault(place, told)
    sets = {override.partition("=")[0].lstrip("+") for override in arm.overrides}
    for knob in grid:
        if knob in sets:
            fault(f"{place}.{knob}", f"{knob} is tuned, but the arm {arm.name} sets it")
