"""The configuration of a run in the range test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ablate.config import files
from ablate.plan.run import Run, key

REPLACED: Final = "optimizer.lr, schedule and warm-up are replaced by the rates of the test"


def tested(run: Run, epochs: int) -> Run:
    """Return a run as the test trains it: the test sets its rates and its length."""
    config: dict[str, Any] = {
        **run.config,
        "epochs": epochs,
        "schedule": files.option("schedule", "constant"),
        "optimizer": {**run.config["optimizer"], "lr": 1.0},
    }
    return replace(run, config=config, key=key(config, run.digest))
