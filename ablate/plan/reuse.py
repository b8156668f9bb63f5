"""Which recorded runs a plan does not use again, since what of the user's own they ran on differs.

Only sweeps that use something of the user's own are looked at, and only where runs are missing.
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
    """Find earlier runs of the same settings that ran on other code.

    Args:
        plans: The plans of a request.

    Returns:
        What differs, in words -> the keys of the earlier runs. Of several that differ from the
        same planned run, the latest.
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
        return "it was recorded before imported modules and named files were a part of the key"
    return "; ".join(differences(before, run.code))


def _by_setting(sweep: Path) -> dict[str, record.Record]:
    """Read the runs of a sweep that ended, by the key that they would have without any code."""
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
