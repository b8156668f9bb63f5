"""What `ablate evaluate` measures, and how: its settings, as measurements use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate import environment
from ablate.config import files
from ablate.config.settings import Given
from ablate.errors import AblateError

_STRENGTH = "augment."  # in front of a single transformation's name


@dataclass(frozen=True)
class EvaluateSettings:
    """What to evaluate, and how.

    Attributes:
        split: ``test`` or ``val``.
        views: Views of each image; None leaves test-time augmentation out.
        samples: Sub-networks that dropout samples; None leaves them out.
        delete: Whether hidden units are deleted.
        scaled: Whether those that are left make up for those that are deleted.
        draws: How many times the units to delete are chosen.
        perturb: Whether images are shifted, rotated and given noise.
        worst: Images in the picture of the worst; None leaves it out.
        device: ``cpu`` or ``cuda``.
        augment: A whole augmentation in place of the runs' own, or None.
        strengths: Single transformations on top of it: name -> strength.
        explicit: Settings that were asked for, rather than left at their defaults.
    """

    split: str
    views: int | None
    samples: int | None
    delete: bool
    scaled: bool
    draws: int
    perturb: bool
    worst: int | None
    device: str
    augment: Mapping[str, Any] | None = None
    strengths: Mapping[str, Any] = field(default_factory=dict)
    explicit: frozenset[str] = frozenset()

    def augmentation(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Give the `augment` part of a run's configuration that its views are made by."""
        own = config["augment"] if self.augment is None else self.augment
        return {**own, **self.strengths, "test_views": self.views or 1}


def resolved(given: Given, device: str | None = None) -> EvaluateSettings:
    """Resolve the settings of a request.

    Args:
        given: Those of `ablate evaluate`.
        device: Where it is computed, unless the request says.

    Raises:
        AblateError: A setting is wrong (every fault is told), or there is no such device.
    """
    if given.faults:
        raise AblateError(*given.faults)
    values = given.values
    strengths = {name: values[name] for name in values if name.startswith(_STRENGTH)}
    chosen = values["device"] if device is None or "device" in given.explicit else device
    return EvaluateSettings(
        split=values["split"],
        views=values["views"],
        samples=values["samples"],
        delete=bool(values["delete"]),
        scaled=values["delete"] == "scaled",
        draws=values["draws"],
        perturb=values["perturb"],
        worst=values["worst"],
        device=environment.resolved_device(chosen),
        augment=None if values["augment"] is None else files.option("augment", values["augment"]),
        strengths={
            name.removeprefix(_STRENGTH): strength
            for name, strength in strengths.items()
            if strength is not None
        },
        explicit=given.explicit,
    )
