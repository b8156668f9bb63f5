"""The settings of `ablate evaluate`, in the form that measurements use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate import environment
from ablate.config import files
from ablate.config.settings import Given
from ablate.errors import AblateError

_STRENGTH = "augment."  # prefix of a single transformation's name


@dataclass(frozen=True)
class EvaluateSettings:
    """What to evaluate, and how.

    Attributes:
        split: ``test`` or ``val``.
        views: Views of each image; None leaves out test-time augmentation.
        samples: Sub-networks that Monte-Carlo dropout samples; None leaves them out.
        delete: Whether to delete hidden units.
        scaled: Whether the remaining units are scaled up to make up for deleted ones.
        draws: How many times the units to delete are chosen.
        perturb: Whether to shift, rotate and add noise to images.
        worst: Images in the picture of the worst; None leaves it out.
        device: ``cpu`` or ``cuda``.
        augment: An augmentation that replaces the runs' own, or None.
        strengths: Single transformations on top of it: name -> strength.
        explicit: Settings that the request sets.
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
        """Return the `augment` part of a configuration that makes a run's views."""
        own = config["augment"] if self.augment is None else self.augment
        return {**own, **self.strengths, "test_views": self.views or 1}


def resolved(given: Given, device: str | None = None) -> EvaluateSettings:
    """Resolve the settings of a request.

    Args:
        given: The settings of `ablate evaluate`.
        device: Where to compute if the request does not say.

    Raises:
        AblateError: A setting is wrong (the error lists every fault), or there is no such device.
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
