"""Short labels for arms whose names are long: what sets them apart from the baseline.

An arm of a grid is named by every knob that varies (``dropout.dense=0.5 norm=none ...``), and with
six knobs such names fill a page. Figures and the forest plot show only the knobs in which an arm
differs from the baseline; the card of what was trained gives the full names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

LONG: Final = 40  # letters of a name
_ROOM: Final = 64  # letters of a label
BASELINE: Final = "the baseline"


def labels(arms: Sequence[str], baseline: str) -> dict[str, str]:
    """Give each arm a label.

    Args:
        arms: Their names.
        baseline: The name of the arm they are compared with.

    Returns:
        Arm -> label, all different: the names themselves if none is long, or if they are the
        user's own words rather than knobs.
    """
    if not any(len(arm) > LONG for arm in arms) or not all(map(_is_of_knobs, (*arms, baseline))):
        return {arm: arm for arm in arms}
    common = set(baseline.split())
    short = {arm: _shortened([one for one in arm.split() if one not in common]) for arm in arms}
    counted = Counter(short.values())
    return {
        arm: label if counted[label] == 1 else f"arm {number}: {label}"
        for number, (arm, label) in enumerate(short.items(), 1)
    }


def _is_of_knobs(arm: str) -> bool:
    return all("=" in word for word in arm.split())


def _shortened(words: Sequence[str]) -> str:
    """Join as many knobs as fit, at least one."""
    if not words:
        return BASELINE
    fitting = 1
    while fitting < len(words) and len(" ".join(words[: fitting + 1])) <= _ROOM:
        fitting += 1
    left = len(words) - fitting
    return " ".join(words[:fitting]) + (f" and {left} more" if left else "")
