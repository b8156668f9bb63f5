"""Planning and training of requests in this process, for tests."""

from __future__ import annotations

from ablate.commands.requests import planned, trained
from ablate.plan.request import Request
from ablate.plan.run import Run


def runs_of(request: Request) -> list[Run]:
    """Plan a request, and list its runs in order; those that tune come first."""
    return [run for plan in planned(request) for run in plan.runs]


def train_all(request: Request) -> tuple[list[Run], bool]:
    """Train a request; return its runs, and whether it was interrupted."""
    outcome = trained(request)
    return list(outcome.runs), outcome.stop is not None and outcome.stop.why == "interrupted"
