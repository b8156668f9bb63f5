"""What `ablate lr-find` is asked: checked before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ablate.commands.asking import Asked, Setting, Words, ask
from ablate.config import files
from ablate.config.effect import SOLVERS
from ablate.config.knob import Knob
from ablate.config.types import Choice, Real, Whole
from ablate.plan.run import Run, key

SETTINGS = (
    Setting(Knob("mode", Choice(("sweep", "grid")), "one rising rate, or constant ones"), "sweep"),
    Setting(Knob("low", Real(0, open_low=True), "lowest rate"), 1e-6),
    Setting(Knob("high", Real(0, open_low=True), "highest rate"), 10.0),
    Setting(Knob("steps", Whole(2), "of the sweep, or of each run of the grid"), 100),
    Setting(Knob("points", Whole(2), "rates of the grid"), 25),
    Setting(Knob("smoothing", Real(0, 1, open_high=True), "of the sweep's curve"), 0.9),
)
REPLACED = "optimizer.lr, schedule and warm-up are replaced by the rates of the test"


def checked(words: Words) -> Asked:
    """Check a request for a range test.

    Raises:
        AblateError: It is wrong; every fault is told.
    """
    return ask("lr_find", SETTINGS, words, _contradictions)


def tested(run: Run, epochs: int) -> Run:
    """Give a run as the test trains it: what sets the rate, and the length, are the test's own."""
    config: dict[str, Any] = {
        **run.config,
        "epochs": epochs,
        "schedule": files.option("schedule", "constant"),
        "optimizer": {**run.config["optimizer"], "lr": 1.0},
    }
    return replace(run, config=config, key=key(config, run.digest))


def _contradictions(asked: Asked) -> list[str]:
    settings, faults = asked.settings, []
    if settings["low"] >= settings["high"]:
        faults.append(
            f"low={settings['low']:g} is not below high={settings['high']:g}: there are no rates"
        )
    idle = "points" if settings["mode"] == "sweep" else "smoothing"
    if settings[idle] != next(s.default for s in SETTINGS if s.knob.name == idle):
        faults.append(f"{idle} touches nothing with mode={settings['mode']}")
    solvers = {str(run.config["optimizer"]["name"]) for run in asked.runs} & set(SOLVERS)
    faults += [
        f"optimizer={name} searches its own steps: there is no rate to test" for name in solvers
    ]
    same: dict[str, str] = {}
    for run, name in zip(asked.runs, asked.names, strict=True):
        other = same.setdefault(tested(run, 1).key, name)
        if other != name:
            faults.append(f"the arms {other} and {name} are one: {REPLACED}")
    return faults
