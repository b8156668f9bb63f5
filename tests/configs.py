"""Resolved configurations for tests, made from the shipped defaults without Hydra."""

from __future__ import annotations

import copy
from typing import Any

from ablate.config.files import chosen, option
from ablate.config.files import top as conf_top

RESOLVED = {"precision": "fp32", "device": "cpu"}  # what `auto` becomes for a run on the CPU


def config(**changes: Any) -> dict[str, Any]:
    """Make a configuration, nested as in a record.

    Args:
        changes: A group's name chooses its option (``optimizer="nesterov"``) or replaces its
            values (``dropout={"input": 0.2, ...}``), a dotted name sets one value
            (``**{"optimizer.lr": 0.1}``), any other name sets a top-level one (``seed=3``).
            Options are chosen first, whatever the order.
    """
    groups, top = chosen(), conf_top()
    made: dict[str, Any] = {
        group: option(group, changes[group] if isinstance(changes.get(group), str) else chosen)
        for group, chosen in groups.items()
    }
    made = copy.deepcopy(made | top | RESOLVED)
    for name, value in changes.items():
        group, _, knob = name.rpartition(".")
        part = made[group] if group else made
        assert group or knob in made, f"{name} is not part of a configuration"
        if name not in groups or not isinstance(value, str):
            part[knob] = copy.deepcopy(value)
    if made["name"] is None:
        made["name"] = f"{made['data']['name']}-{made['model']['name']}"
    return made
