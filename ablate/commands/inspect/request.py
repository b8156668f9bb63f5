"""Checks the request of `ablate inspect`, before torch is loaded."""

from __future__ import annotations

from ablate.commands.asking import Asked, Words, ask
from ablate.config.knobs.looking import INSPECT


def checked(words: Words) -> Asked:
    """Check a request for an inspection.

    Raises:
        AblateError: It is wrong; the error lists every fault.
    """
    return ask(INSPECT, words, _contradictions)


def by_record(asked: Asked) -> bool:
    """Tell whether trained runs are inspected with the weights that their records keep."""
    return bool(asked.settings["train"]) and asked.settings["every"] is None


def _contradictions(asked: Asked) -> list[str]:
    if by_record(asked) and any(run.config["save"] == "none" for run in asked.runs):
        return [
            "save=none keeps no weights to look at after training: leave it out, or look"
            " during training (every=N), or only at the start (train=false)"
        ]
    return []
