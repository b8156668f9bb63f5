"""What `ablate inspect` is asked: checked before anything heavy is loaded."""

from __future__ import annotations

from ablate.commands.asking import Asked, Setting, Words, ask
from ablate.config.knob import Knob
from ablate.config.types import Flag, Whole

SETTINGS = (
    Setting(Knob("every", Whole(1), "also look after so many steps", null="never"), None),
    Setting(Knob("images", Whole(2), "how many training images are looked at"), 256),
    Setting(Knob("train", Flag(), "whether to look after training"), True),
)


def checked(words: Words) -> Asked:
    """Check a request for an inspection.

    Raises:
        AblateError: It is wrong; every fault is told.
    """
    return ask("inspect", SETTINGS, words, _contradictions)


def _contradictions(asked: Asked) -> list[str]:
    settings, faults = asked.settings, []
    if settings["every"] is not None and not settings["train"]:
        faults.append(f"every={settings['every']} touches nothing with train=false")
    kept = all(run.config["save"] != "none" for run in asked.runs)
    if settings["every"] is None and settings["train"] and not kept:
        faults.append(
            "save=none keeps no weights to look at after training: leave it out, or look on the"
            " way (every=N), or only at the start (train=false)"
        )
    return faults
