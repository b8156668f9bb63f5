"""Random legal requests, drawn from the declared knobs; small, so that each trains in no time."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

from ablate.config import files, schema
from ablate.config.knob import Knob
from ablate.config.types import Choice, Flag, ListOf, Real, Text, Whole
from ablate.nets import shapes

Overrides = dict[str, Any]  # name -> value, as on the command line: groups, then knobs

_GROUPS = tuple(files.groups())
_OWN = ("custom", "own")  # options that need something of the user's own
# Small sizes, whether they are drawn or not.
_SIZES: dict[str, Any] = {
    "model.channels": lambda chance: [chance.randint(1, 6) for _ in range(chance.randint(1, 3))],
    "model.hidden": lambda chance: [chance.randint(1, 8) for _ in range(chance.randint(0, 2))],
    "model.width": lambda chance: chance.randint(1, 3),
    "model.depth": lambda chance: chance.choice((1, 2, 8, 9, 14)),
    "data.train_size": lambda chance: chance.choice((20, 20, 23, 30)),
    "data.val_size": lambda chance: chance.choice((0, 7, 7, 20, 20)),
    "batch_size": lambda chance: chance.choice((10, 11, 20)),
    "epochs": lambda chance: chance.choice((1, 1, 2, 2, 3)),
}
# Where the whole legal range would take forever, a part of it.
_RANGES: dict[str, tuple[int, int]] = {
    "model.kernel_size": (1, 6),
    "model.stride": (1, 3),
    "model.padding": (0, 3),
    "model.pad_to": (1, 16),
    "data.image_size": (1, 12),
    "norm.groups": (1, 8),
    "optimizer.ns_steps": (1, 12),
    "optimizer.history": (1, 12),
    "optimizer.max_iter": (1, 8),
    "schedule.cycles": (1, 20),
    "schedule.patience": (0, 3),
    "regularize.early_stopping": (1, 3),
    "augment.test_views": (1, 4),
}
_FIXED = ("data", "precision", "model.name", *_SIZES)
_KEPT = 0.8  # how many knobs of an option stay as its file has them


def request(chance: Random) -> Overrides:
    """Draw a request. It may hold a knob that touches nothing there, and so be refused."""
    options = {group: _option(chance, group) for group in _GROUPS if group != "data"}
    if options["optimizer"] == "newton":  # its Hessian takes the square of the network's size
        options["model"] = chance.choice(("mlp", "cnn", "rnn"))
    drawn: Overrides = {"precision": "fp64"}
    drawn |= {group: option for group, option in options.items() if option is not None}
    knobs = [f"{g}.{part}" for g in _GROUPS for part in files.option(g, _name(options, g))]
    beside = [knob.name for knob in schema.KNOBS if not knob.group or knob.group == "seeds"]
    for name in [*knobs, *beside]:
        if name in _SIZES:
            drawn[name] = _SIZES[name](chance)
    if options["model"] == "vgg":
        drawn["model.depth"] = min(drawn["model.depth"], 2)
    elif options["model"] == "resnet":
        drawn["model.depth"] = max(drawn["model.depth"], 8)
    if options["optimizer"] == "newton":
        drawn |= {"data.image_size": 4, "model.hidden": [chance.randint(1, 3)], "epochs": 1}
        drawn |= {"model.channels": [chance.randint(1, 2)]} if options["model"] == "cnn" else {}
    model = {"name": _name(options, "model")} | {
        name.partition(".")[2]: value for name, value in drawn.items() if name.startswith("model.")
    }
    for name in [*knobs, *beside]:
        knob = schema.BY_NAME.get(name)
        if knob is None or name in _FIXED or not is_drawn(knob) or chance.random() < _KEPT:
            continue
        drawn[name] = value(chance, knob, _default(options, name), model)
    return drawn


def mate(chance: Random, drawn: Overrides) -> Overrides:
    """Draw a request that differs from another in axis knobs alone."""
    changed: Overrides = {"seed": chance.randrange(1000)}
    for name, before in drawn.items():
        knob = schema.BY_NAME.get(name)
        alike = knob is None or knob.place != "axis" or isinstance(before, list)
        if not alike and knob is not None and is_drawn(knob) and chance.random() < 0.7:
            changed[name] = value(chance, knob, before, {})
    return drawn | changed


def without(overrides: Overrides, names: Collection[str]) -> Overrides:
    """Leave knobs out of a request, and with a group all of its knobs."""
    gone = {name for name in overrides if name in names or name.partition(".")[0] in names}
    return {name: value for name, value in overrides.items() if name not in gone}


def blamed(overrides: Overrides, faults: Sequence[str]) -> set[str]:
    """Name what a refusal begins with, as far as a request can do without it."""
    first = {re.split("[ =]", fault)[0] for fault in faults}
    return {name for name in overrides if name in first and name not in _FIXED}


def value(chance: Random, knob: Knob, default: Any, model: Mapping[str, Any]) -> Any:
    """Draw a legal value of a knob, more often from the ends of its range."""
    extra = [*knob.words, *([None] if knob.null else [])]
    if extra and chance.random() < 0.2:
        return chance.choice(extra)
    kind = knob.type
    if isinstance(kind, Flag):
        return chance.choice((True, False))
    if isinstance(kind, Choice):
        return chance.choice([word for word in kind.words if word not in _OWN])
    if isinstance(kind, Whole):
        low, high = _RANGES.get(knob.name, (kind.low, kind.high))
        return chance.choice((low, high, chance.randint(low, high), chance.randint(low, high)))
    if isinstance(kind, Real):
        return _real(chance, kind, default)
    if isinstance(kind, ListOf):
        return _list(chance, knob, kind, default, model)
    raise AssertionError(f"{knob.name} has a type that is not drawn")


def _real(chance: Random, kind: Real, default: Any) -> float:
    low, high = kind.low, kind.high
    near = abs(default) if isinstance(default, float | int) and default else 0.1
    if math.isfinite(low) and math.isfinite(high):
        inside = low + (high - low) * chance.random()
        tiny = (high - low) * 10 ** chance.uniform(-12, -2)
        tries = [low, high, low + tiny, high - tiny, inside, inside, inside]
    else:
        inside = near * 10 ** chance.uniform(-2, 1)
        far = near * 10 ** chance.uniform(-10, 8)
        tries = [low, low + inside, low + inside, low + inside, low + far]
        if not math.isfinite(low):
            tries = [0.0, inside, -inside, far, -far]
    drawn = chance.choice(tries)
    return drawn if kind.admits(drawn) else inside or near


def _list(chance: Random, knob: Knob, kind: ListOf, default: Any, model: Mapping[str, Any]) -> Any:
    if isinstance(kind.item, Text):  # a scheme for each layer
        count = _layers(model, shapes.weighted_layers)
        schemes = [o for o in files.groups()["init"] if o not in _OWN]
        return [
            scheme + chance.choice(("", "", f":{10 ** chance.uniform(-2, 0.5):.3g}"))
            for scheme in (chance.choice(schemes) for _ in range(count))
        ]
    if not isinstance(kind.item, Real):
        raise AssertionError(f"{knob.name} is among the sizes")
    if knob.name == "schedule.milestones":
        return sorted({round(chance.uniform(0.01, 0.99), 3) for _ in range(chance.randint(1, 3))})
    if kind.or_one and chance.random() < 0.5:
        return _real(chance, kind.item, default)
    layers = shapes.conv_layers if knob.name == "dropout.conv" else shapes.dense_layers
    return [_real(chance, kind.item, 0) for _ in range(_layers(model, layers))]


def _layers(model: Mapping[str, Any], count: Any) -> int:
    legal = shapes.illegal_depth(model) is None
    return int(count(model)) if legal else 1


def _option(chance: Random, group: str) -> str | None:
    """Choose an option of a group, or None for what is there without asking."""
    options = [option for option in files.groups()[group] if option not in _OWN]
    always = group in ("model", "optimizer")
    return chance.choice(options) if always or chance.random() < 0.5 else None


def _name(options: Mapping[str, str | None], group: str) -> str:
    return options.get(group) or files.chosen()[group]


def _default(options: Mapping[str, str | None], name: str) -> Any:
    group, _, part = name.rpartition(".")
    if not group or group == "seeds":
        return None
    return files.option(group, _name(options, group)).get(part)


def is_drawn(knob: Knob) -> bool:
    """Tell whether a knob's type is enough to draw a value that trains in no time."""
    return (
        knob.role == "result"
        and not knob.name.endswith(("_target_", ".name"))
        and knob.name not in _FIXED
    )
