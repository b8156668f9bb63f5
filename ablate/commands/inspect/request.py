"""What `ablate inspect` is asked: checked before anything heavy is loaded."""

from __future__ import annotations

from ablate.commands.asking import Asked, Words, ask
from ablate.config.knobs.looking import INSPECT


def checked(words: Words) -> Asked:
    """Check a request for an inspection.

    Raises:
        AblateError: It is wrong; every fault is told.
    """
    return ask(INSPECT, words, _contradictions)


def by_record(asked: Asked) -> bool:
    """Tell whether runs are looked at after training by the weights that their records hold."""
    return bool(asked.settings["train"]) and asked.settings["every"] is None


def _contradictions(asked: Asked) -> list[str]:
    if by_record(asked) and any(run.config["save"] == "none" for run in asked.runs):
        return [
            "save=none keeps no weights to look at after training: leave it out, or look on the"
            " way (every=N), or only at the start (train=false)"
        ]
    return []
