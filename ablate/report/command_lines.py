"""The exact commands that would train a report's runs again.

A command names only what differs from the shipped defaults, and composes to the same keys. Where
the arms form a grid over the same seeds, one command is enough.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ablate.config import files, schema
from ablate.config.effect import SOLVERS

Overrides = dict[str, str]
Group = tuple[Overrides, tuple[int, ...]]  # what an arm sets, with its seeds

_PLAIN = re.compile(r"[\w./+-]+")


def commands(arms: Sequence[tuple[Mapping[str, Any], Sequence[int]]]) -> list[str]:
    """Write the commands for some arms.

    Args:
        arms: A resolved config, nested, and the seeds of each.

    Returns:
        Lines for a shell: one where the arms form a grid, else one an arm.
    """
    said = _filled([(overrides(config), config) for config, _ in arms])
    groups = [(one, tuple(sorted(set(seeds)))) for one, (_, seeds) in zip(said, arms, strict=True)]
    grid = _grid(groups)
    if grid is not None:
        return [_line({**grid, "seed": _seeds(groups[0][1])})]
    return [_line({**one, "seed": _seeds(seeds)}) for one, seeds in groups]


def overrides(config: Mapping[str, Any]) -> Overrides:
    """List what a resolved config sets apart from the defaults, leaving out seed and execution.

    Returns:
        Values by the names of groups and knobs, as written on the command line.
    """
    found: Overrides = {}
    for group, default in _options(config).items():
        part = config.get(group, {})
        option = str(part.get("name", default)) if group in schema.OPTIONS else default
        own = group in schema.OPTIONS and bool(part.get("_target_"))
        if option != default and not own:
            found[group] = option
        known = files.option(group, option)
        for name, value in schema.flatten(part).items():
            if name != "name" and not _is_default(value, known, name):
                found[f"{group}.{name}"] = _value(value)
        found |= _older(group, part, known)
    return found | _top(config)


def _older(group: str, part: Mapping[str, Any], known: Mapping[str, Any]) -> Overrides:
    """List knobs that an older record lacks: they were off."""
    lacking = {name: schema.BY_NAME.get(f"{group}.{name}") for name in known if name not in part}
    return {
        knob.name: _value(knob.off)
        for name, knob in lacking.items()
        if knob is not None and knob.off is not schema.UNSET and known[name] != knob.off
    }


def _options(config: Mapping[str, Any]) -> dict[str, str]:
    """Return each group's default option. A network of the user's own draws its own weights."""
    chosen = files.chosen()
    return chosen | {"init": "own"} if schema.get(config, "model.name") == "custom" else chosen


def _is_default(value: Any, known: Mapping[str, Any], name: str) -> bool:
    if name not in known:
        return False
    default = known[name]
    # A resolved config writes equal rates once: 0.5 for [0.5, 0.5].
    once = isinstance(default, list) and bool(default) and all(value == one for one in default)
    return once or bool(value == default)


def _top(config: Mapping[str, Any]) -> Overrides:
    """List the knobs outside groups that can change a result, and the name of the sweep."""
    found = {}
    solver = {"batch_size": "full"} if schema.get(config, "optimizer.name") in SOLVERS else {}
    defaults = schema.flatten(files.top() | solver | {"precision": "fp32"})
    grouped = tuple(f"{group}." for group in files.chosen())
    for name, value in schema.flatten(config).items():
        knob = schema.BY_NAME.get(name)
        if knob is None or knob.role != "result" or name == "seed" or name.startswith(grouped):
            continue
        if value != defaults.get(name):
            found[name] = _value(value)
    usual = f"{schema.get(config, 'data.name')}-{schema.get(config, 'model.name')}"
    own = (
        schema.get(config, "data.name") == "custom" or schema.get(config, "model.name") == "custom"
    )
    if not own and config.get("name") not in (None, usual):
        found["name"] = _value(config["name"])
    return found


def _value(value: Any) -> str:
    """Write a value for Hydra, quoted where its grammar needs that."""
    if isinstance(value, str) and not (_PLAIN.fullmatch(value) and schema.shown(value) == value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, list):
        return f"[{','.join(_value(one) for one in value)}]"
    return schema.shown(value)


# -- one command for many arms ---------------------------------------------------------------------


def _filled(said: Sequence[tuple[Overrides, Mapping[str, Any]]]) -> list[Overrides]:
    """Where one arm sets a knob, let the others state its default, so that they can be merged."""
    names = list(dict.fromkeys(name for one, _ in said for name in one))
    filled = []
    for one, config in said:
        every = {}
        for name in names:
            if name in one:
                every[name] = one[name]
            elif name in schema.OPTIONS:
                every[name] = str(config[name]["name"])
            elif _has(config, name):
                every[name] = _value(schema.get(config, name))
        filled.append(every)
    varied = {n for n in names if len({one.get(n) for one in filled}) > 1}
    return [
        {n: v for n, v in every.items() if n in one or n in varied}
        for every, (one, _) in zip(filled, said, strict=True)
    ]


def _has(config: Mapping[str, Any], name: str) -> bool:
    group, _, leaf = name.rpartition(".")
    part = schema.get(config, group) if group else config
    return isinstance(part, Mapping) and leaf in part


def _grid(groups: Sequence[Group]) -> Overrides | None:
    """Merge arms that are all combinations of some values, over the same seeds, into one."""
    names = list(groups[0][0])
    if any(list(one) != names or seeds != groups[0][1] for one, seeds in groups):
        return None
    values = {name: list(dict.fromkeys(one[name] for one, _ in groups)) for name in names}
    cells = {tuple(one.values()) for one, _ in groups}
    if len(cells) != math.prod(len(some) for some in values.values()):
        return None
    return {name: ",".join(some) for name, some in values.items()}


def _seeds(seeds: Sequence[int]) -> str:
    first, last = seeds[0], seeds[-1]
    if len(seeds) > 1 and last - first == len(seeds) - 1:
        return f"range({last + 1})" if first == 0 else f"range({first},{last + 1})"
    return ",".join(map(str, seeds))


def _line(said: Overrides) -> str:
    words = [f"{name}={value}" for name, value in said.items()]
    many = any("," in re.sub(r"\[[^\]]*\]|'[^']*'", "", v) or "range(" in v for v in said.values())
    return shlex.join(["ablate", "run", *(["-m"] if many else []), *words])
