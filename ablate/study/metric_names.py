"""Which metrics a run can be compared by, known before any has been trained."""

from __future__ import annotations

from ablate.config.knobs.training import LIMITS
from ablate.errors import nearest

SPLITS = ("train", "val", "test")
OF_A_SPLIT = ("loss", "accuracy", "error", "ece", "brier")
TARGET = "epochs_to_target"
_MEASURED_LATER = ("evaluate/", "inspect/")
_FIXED = {"parameters": "it is the same for every seed of an arm, so that nothing can be tested"}


def recorded() -> list[str]:
    """List the metrics that training records, and those that follow from its history."""
    return [
        *(f"{split}/{name}" for split in SPLITS for name in OF_A_SPLIT),
        *("gap/accuracy", "gap/loss", "epochs_to_best", TARGET, "seconds", "images_per_second"),
        *("val/error_lowest", "val/error_area", "val/error_spread"),
        *(f"acted/{name}" for name in LIMITS),
    ]


def known_metric(name: str) -> str | None:
    """Say why nothing can be claimed by a metric of this name.

    Args:
        name: As in a study's file. What is measured after training, `evaluate/...` and
            `inspect/...`, passes.

    Returns:
        The end of a sentence that begins with the name, with the nearest legal one; None where the
        metric is known.
    """
    if name.startswith(_MEASURED_LATER) or name in recorded():
        return None
    if name in _FIXED:
        return _FIXED[name]
    return f"no run records it{nearest(name, recorded())}"
