"""Checks the request of `ablate lr-find`, before torch is loaded."""

from __future__ import annotations

from ablate.commands.asking import Asked, Words, ask
from ablate.config.effect import SOLVERS
from ablate.config.knobs.looking import LR_FIND
from ablate.measure.lr_tested import REPLACED, tested


def checked(words: Words) -> Asked:
    """Check a request for a range test.

    Raises:
        AblateError: It is wrong; the error lists every fault.
    """
    return ask(LR_FIND, words, _contradictions)


def _contradictions(asked: Asked) -> list[str]:
    settings, faults = asked.settings, []
    if settings["low"] >= settings["high"]:
        faults.append(
            f"low={settings['low']:g} is not below high={settings['high']:g}: no rate lies between"
        )
    solvers = {str(run.config["optimizer"]["name"]) for run in asked.runs} & set(SOLVERS)
    faults += [
        f"optimizer={name} finds its own steps: there is no rate to test" for name in solvers
    ]
    same: dict[str, str] = {}
    for run, name in zip(asked.runs, asked.names, strict=True):
        other = same.setdefault(tested(run, 1).key, name)
        if other != name:
            faults.append(f"the arms {other} and {name} are the same here: {REPLACED}")
    return faults
