"""Every knob, declared once: type, range, unit, role, place in a stack, off value, source.

Validation, the run's key, the grouping into stacks, `conf/README.md` and the report's labels derive
from this table. It imports nothing heavy, so that a wrong request is refused at once.

A knob's *role* says what it may change: ``result`` (the numbers), ``execution`` (where and how a
run is computed) or ``label`` (names and places). A result knob's *place* says whether it may differ
inside a stack (``axis``) or must agree there (``graph``).

A user's own class can fill a *slot* (``model``, ``dropout``, ``model.activation``, ...): its
``_target_`` names it, and further values of the slot that are not knobs are its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ablate.config import files
from ablate.config.effect import RATES
from ablate.config.knob import UNSET, Config, Knob, shown
from ablate.config.knobs import network, run, training

__all__ = [
    "BY_NAME",
    "KNOBS",
    "LATER",
    "OPTIONS",
    "SLOTS",
    "UNSET",
    "Config",
    "Knob",
    "arguments",
    "belongs",
    "entries",
    "flatten",
    "get",
    "graph",
    "is_argument",
    "is_off",
    "knob_of",
    "seconds",
    "shown",
    "targets",
]

# Groups whose option is itself a result: `optimizer=adam` is a knob with the value adam.
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "data": run.DATASETS,
    "model": network.MODELS,
    "norm": network.NORMS,
    "init": network.INITS,
    "optimizer": training.OPTIMIZERS,
    "schedule": training.SCHEDULES,
}

KNOBS: Final[tuple[Knob, ...]] = (*run.DATA, *network.KNOBS, *training.KNOBS, *run.KNOBS)
BY_NAME: Final[dict[str, Knob]] = {knob.name: knob for knob in KNOBS}

# Knobs that a user's older configuration may lack; readers use their defaults.
LATER: Final = ("max_runs",)

# Where a user's class or function can go.
SLOTS: Final = tuple(k.removesuffix("._target_") for k in BY_NAME if k.endswith("._target_"))


def targets(config: Config) -> dict[str, str]:
    """List the user's own classes in a configuration: slot -> import path."""
    own = {slot: get(config, f"{slot}._target_") for slot in SLOTS}
    if own["model"]:  # then its activation is its own affair too
        own["model.activation"] = None
    return {slot: str(target) for slot, target in own.items() if target}


def has_own_layers(config: Config) -> bool:
    """Tell whether a configuration's network has user parts."""
    own = targets(config)
    return any(slot in own for slot in ("model", "model.activation", "dropout", "norm"))


def graph(config: Config) -> dict[str, Any]:
    """List the values that runs must share to be computed by the same operations."""
    flat = flatten(config)
    same = {
        name: value
        for name, value in flat.items()
        if name not in BY_NAME or (BY_NAME[name].role, BY_NAME[name].place) == ("result", "graph")
    }
    # Turning these on adds operations, so runs must agree on whether they are on.
    same |= {
        f"{knob.name} is on": not is_off(knob, flat[knob.name])
        for knob in KNOBS
        if knob.switches and knob.name in flat
    }
    if "dropout" in targets(config):  # a user's class holds its own rate
        same |= {f"dropout.{name}": flat[f"dropout.{name}"] for name in RATES}
    return same


def entries(config: Config) -> Iterator[tuple[str, Any, Knob | None]]:
    """List a configuration's values: dotted name, value, and the knob.

    An argument of a user's class has no knob, nor does a wrong name.
    """
    own = targets(config)
    for name, value in flatten(config).items():
        argument = bool(own) and any(belongs(name, slot) for slot in own)
        yield name, value, None if argument else BY_NAME.get(name)


def is_argument(config: Config, name: str) -> bool:
    """Tell whether a name is an argument of a user's class rather than a knob."""
    return any(belongs(name, slot) for slot in targets(config))


def belongs(name: str, slot: str) -> bool:
    """Tell whether a name would be an argument of what fills a slot."""
    if not name.startswith(f"{slot}."):
        return False
    if slot in OPTIONS:  # an option of its own: `custom` has few knobs
        return name.removeprefix(f"{slot}.") not in files.option(slot, "custom")
    return name not in BY_NAME


def arguments(config: Config, slot: str) -> dict[str, Any]:
    """Select the values passed to what fills a slot, by name."""
    values = get(config, slot)
    return {k: v for k, v in values.items() if belongs(f"{slot}.{k}", slot)}


def knob_of(config: Config, name: str) -> Knob | None:
    """Find the knob behind a name; other arguments of a user's class are not knobs."""
    return None if is_argument(config, name) else BY_NAME.get(name)


def is_off(knob: Knob, value: Any) -> bool:
    """Tell whether a value is the one at which a knob does nothing."""
    if knob.off is UNSET:
        return False
    many = isinstance(value, list | tuple) and len(value) > 0
    return all(v == knob.off for v in value) if many else bool(value == knob.off)


def get(config: Config, name: str, default: Any = None) -> Any:
    """Read a dotted name from a nested config."""
    node: Any = config
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    """Turn a nested config into one flat dict of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):  # a plan flattens thousands, and a check for Mapping is slow
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def seconds(duration: str | float) -> float:
    """Turn ``30s``, ``5m``, ``1h`` or a bare number of seconds into seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(duration))
    assert match is not None, "validated by the schema"
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
