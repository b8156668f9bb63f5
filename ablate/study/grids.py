"""Notes in the ledger what a grid or a design asks before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ablate.errors import raise_if_full
from ablate.plan.planning import Plan
from ablate.plan.run import Run
from ablate.record.ledger import sweep_lock
from ablate.study import ledger, questions, sweep_json


def note_request(plan: Plan) -> None:
    """Note what a plan asks in the folder of each of its sweeps. A single run asks nothing.

    Raises:
        OSError: The disk is full, or a folder cannot be written to.
    """
    request = plan.request
    if request.is_single:
        return
    sweeps: dict[Path, list[Run]] = {}
    for run in plan.runs:
        sweeps.setdefault(run.sweep, []).append(run)
    with unless_shown_only(plan):
        for sweep, runs in sweeps.items():
            keys = [] if request.searches else list(dict.fromkeys(run.key for run in runs))
            ledger.note_claims(sweep, questions.of_request(request, runs), len(keys) or None)
            with sweep_lock(sweep):
                sweep_json.write(sweep, command=list(request.overrides), runs=keys)


@contextmanager
def unless_shown_only(plan: Plan) -> Iterator[None]:
    """Write what is asked. If nothing is left to train, go on to show the runs even if that fails.

    The output then says that the look could not be noted.

    Raises:
        DiskFullError: There is no space left.
        OSError: Runs are left to train, and a folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise_if_full(error)
        if plan.left:
            raise
