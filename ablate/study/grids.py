"""Notes in the ledger what a grid or a design asks, before it trains."""

from __future__ import annotations

from pathlib import Path

from ablate.plan.planning import Plan
from ablate.plan.run import Run
from ablate.record.ledger import sweep_lock
from ablate.study import ledger, questions, sweep_json


def note_request(plan: Plan) -> None:
    """Note what a plan asks, in the folder of each of its sweeps; a single run asks nothing.

    Raises:
        OSError: The disk is full, or a folder cannot be written to.
    """
    request = plan.request
    if request.is_single:
        return
    sweeps: dict[Path, list[Run]] = {}
    for run in plan.runs:
        sweeps.setdefault(run.sweep, []).append(run)
    for sweep, runs in sweeps.items():
        keys = [] if request.searches else list(dict.fromkeys(run.key for run in runs))
        ledger.note_claims(sweep, questions.of_request(request, runs), len(keys) or None)
        with sweep_lock(sweep):
            sweep_json.write(sweep, command=list(request.overrides), runs=keys)
