"""Finds recorded runs that a plan does not reuse because they used other user code.

Only sweeps with user code are checked, and only if runs are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate import record
from ablate.errors import AblateError
from ablate.plan.code import differences
from ablate.plan.planning import Plan
from ablate.plan.run import Run, key


def not_reused(plans: Sequence[Plan]) -> dict[str, list[str]]:
    """Find earlier runs of the same settings that used other code.

    Args:
        plans: The plans of a request.

    Returns:
        What differs, in words -> keys of the earlier runs; only the latest for each planned run.
    """
    missing = {
        run.directory: run
        for plan in plans
        for run in plan.runs
        if run.code is not None and run.directory not in plan.there
    }
    found: dict[str, list[str]] = {}
    earlier: dict[Path, dict[str, record.Record]] = {}
    for run in missing.values():
        if run.sweep not in earlier:
            earlier[run.sweep] = _by_setting(run.sweep)
        old = earlier[run.sweep].get(key(run.config, run.digest))
        if old is not None:
            found.setdefault(_why(old, run), []).append(old["key"])
    return found


def _why(old: record.Record, run: Run) -> str:
    if (before := record.code_in(old)) is None:
        return "it was recorded before imported modules and named files were part of the key"
    return "; ".join(differences(before, run.code))


def _by_setting(sweep: Path) -> dict[str, record.Record]:
    """Read a sweep's ended runs, by the keys they would have without any code."""
    ended = []
    for folder in record.find(sweep):
        try:
            found = record.read_whole(folder)
        except AblateError:  # `ablate show` names it
            continue
        if found is not None and found["status"] in record.ENDED:
            ended.append(found)
    ended.sort(key=lambda one: one["timing"].get("finished", ""))
    return {
        key(one["config"], one["environment"].get("data", {}).get("digest", "")): one
        for one in ended
    }
