"""Tells which measurements apply to a run: whether it drops units, whether it augments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ablate.config import schema
from ablate.measure.evaluate_settings import EvaluateSettings


def touch_nothing(wanted: EvaluateSettings, found: Iterable[Mapping[str, Any]]) -> list[str]:
    """List explicit settings that have no effect on any of the runs.

    Args:
        wanted: The settings.
        found: The runs' records.
    """
    records = list(found)
    faults = []
    if "samples" in wanted.explicit and wanted.samples and not any(map(has_dropout, records)):
        faults.append(
            f"samples={wanted.samples} touches nothing: no dropout and no stochastic depth acted"
            " in training"
        )
    if (
        "views" in wanted.explicit
        and wanted.views
        and not any(transformations(wanted.augmentation(found["config"])) for found in records)
    ):
        faults.append(
            f"views={wanted.views} touches nothing: training did not augment; choose an"
            " augmentation, such as augment=shift or augment.flip=0.5"
        )
    return faults


def has_dropout(record: Mapping[str, Any]) -> bool:
    """Tell from a record whether dropout or stochastic depth acted in training."""
    acted = record["active"]
    return any(n == "dropout" or n.startswith("dropout/") for n in acted) or (
        "regularize/stochastic_depth" in acted
    )


def may_drop(config: Mapping[str, Any]) -> bool:
    """Tell from a configuration whether dropout or stochastic depth may act in training.

    A user's network may contain dropout, so it counts.
    """
    named = [knob for knob in schema.BY_NAME.values() if knob.group == "dropout" and knob.off == 0]
    named.append(schema.BY_NAME["regularize.stochastic_depth"])
    on = [n for k in named if not schema.is_off(k, schema.get(config, n := k.name, k.off))]
    own = schema.get(config, "model._target_") or schema.get(config, "dropout._target_")
    return bool(on or own)


def transformations(augment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transformations of an augmentation that are on: name -> strength."""
    knobs = {name: schema.BY_NAME.get(f"augment.{name}") for name in augment}
    return {
        name: augment[name]
        for name, knob in knobs.items()
        if knob is not None and name != "test_views" and not schema.is_off(knob, augment[name])
    }
